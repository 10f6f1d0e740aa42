"""What the doctor sees of the machine that the tests run on, and of certificates made for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from segue.adapters.checkup import host
from segue.lab import pki


def issued(folder: Path, signer: pki.Authority, name: str, valid: timedelta) -> pki.Pair:
    pair = pki.Pair(folder / "host.pem", folder / "host.key")
    begins = datetime.now(UTC) - timedelta(days=10)
    uri = pki.host_uri(name)
    return pki.issue(signer, pair, common_name=name, uri=uri, server=True, not_before=begins, valid=valid)


def test_a_certificate_as_others_judge_it(tmp_path: Path) -> None:
    fleet = pki.ensure_authority(tmp_path)
    pair = issued(tmp_path, fleet, "host1", timedelta(days=15))
    seen = host.certificate(tmp_path / "ca.pem", pair.certificate, pair.key)
    assert (seen.signed_by_ca, seen.host_names, seen.key_others_may_read) == (True, ("host1",), False)
    assert 4.9 < seen.days_left < 5.1
    pair.key.chmod(0o640)
    issued(tmp_path, pki.new_authority(), "host9", timedelta(days=1))
    pair.key.chmod(0o640)
    seen = host.certificate(tmp_path / "ca.pem", pair.certificate, pair.key)
    assert (seen.signed_by_ca, seen.host_names, seen.key_others_may_read) == (False, ("host9",), True)
    assert seen.days_left < 0


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    assert host.certificate(tmp_path / "ca.pem", tmp_path / "host.pem", tmp_path / "key").unreadable
    for name in ("ca.pem", "host.pem", "key"):
        (tmp_path / name).write_text("nothing")
    assert host.certificate(tmp_path / "ca.pem", tmp_path / "host.pem", tmp_path / "key").unreadable


def test_folders(tmp_path: Path) -> None:
    seen = host.folder("state_dir", tmp_path, write=True)
    assert not seen.fault
    assert 0 < seen.free_bytes <= seen.total_bytes
    assert seen.file_system
    assert host.folder("shared_dir", tmp_path / "gone", write=True).fault
    assert host.folder("images_dir", tmp_path / "gone", write=False).fault
    assert not list(tmp_path.iterdir()), "nothing stays"


def test_a_disk_takes_its_time(tmp_path: Path) -> None:
    assert host.sync_s(tmp_path) > 0


def test_a_device_that_nobody_may_open(tmp_path: Path) -> None:
    made = tmp_path / "device"
    assert "No such file" in host.device_fault(made, "nobody")
    made.touch(0o600)
    assert "no group" in host.device_fault(made, "nobody")
    made.chmod(0o606)
    assert not host.device_fault(made, "nobody")


def test_a_user_that_is_not_there() -> None:
    assert "there is no user" in host.user_fault("no-such-user", 0)
    assert not host.user_fault("nobody", 0)


def test_what_every_machine_has() -> None:
    assert host.overcommit() in {0, 1, 2}
    assert host.mtu("lo") > 1500
    assert host.mtu("no-such-link") == 0
    assert not host.memfd_fault()
