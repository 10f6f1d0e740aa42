"""The doctor on hosts that really lack something."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from segue.lab import pki
from tests.lab.scene import Scene
from tests.lab.test_migrate_certificates import certified

pytestmark = pytest.mark.lab


def examined(scene: Scene, host: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what is not well: `check: what` -> level."""
    done = scene.segue("doctor", host, "-o", "json")
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["host"] == host
    bad = {f"{f['check']}: {f['what']}": f["level"] for f in seen["findings"] if f["level"] != "ok"}
    return done.returncode, bad


def links(scene: Scene, host: str) -> str:
    return scene.run(host, "ip", "-o", "link")


def test_a_host_of_the_lab_has_no_fault_and_keeps_nothing_of_the_examination(scene: Scene) -> None:
    before = links(scene, "host3")
    code, bad = examined(scene, "host3")
    assert (code, set(bad.values()) - {"warn"}) == (0, set()), bad
    assert "failpoints: this agent can be told to die" in bad
    assert links(scene, "host3") == before
    table = scene.segue("doctor", "host3", "--all").stdout
    assert "u32 with mirred works" in table
    scene.demand_calm()


def test_what_is_missing_is_said(scene: Scene) -> None:
    """A bridge, a program, a storage and the rights of a key, all at once; a tap that cannot be made."""
    break_it = "ip link set br0 name br9; chmod 644 /etc/segue/pki/host.key; mv /dev/net/tun /dev/net/t"
    hide = "mount --bind /dev/null /usr/bin/qemu-img; mount -t tmpfs -o ro none /srv/segue/shared"
    mend = "ip link set br9 name br0; chmod 600 /etc/segue/pki/host.key; mv /dev/net/t /dev/net/tun"
    mend += "; umount /usr/bin/qemu-img /srv/segue/shared"
    scene.run("host3", "sh", "-ec", f"{break_it}; {hide}")
    try:
        code, bad = examined(scene, "host3")
    finally:
        scene.run("host3", "sh", "-c", mend)
    assert code == 4
    for fault in (
        "network: there is no bridge br0",
        "qemu: there is no qemu-img",
        "certificate: its key is not root's alone",
        "storage: shared_dir /srv/segue/shared cannot be used",
        "network: a tap (/dev/net/tun) does not work",
        "network: clsact does not work",
    ):
        assert bad.get(fault) == "fail", (fault, bad)
    scene.demand_calm()


def test_a_peer_that_does_not_answer_or_is_cut_short(scene: Scene) -> None:
    scene.lab.cut("host2--host3")
    try:
        code, bad = examined(scene, "host3")
    finally:
        scene.lab.mend()
    assert (code, bad.get("peer host2: it cannot be spoken to")) == (4, "fail")
    small = "ip link set uplink0 mtu 1500; ip link set br0 mtu 1500"
    scene.run("host3", "sh", "-ec", small)
    try:
        code, bad = examined(scene, "host3")
    finally:
        scene.run("host3", "sh", "-ec", small.replace("1500", "1600"))
    assert (code, bad.get("peer host2: full-sized frames are lost while a guest moves")) == (0, "warn"), bad
    scene.demand_calm()


@pytest.mark.slow
def test_a_certificate_that_ends_soon_is_seen_by_its_host(scene: Scene) -> None:
    fleet = pki.ensure_authority(scene.lab.places.pki)
    with certified(scene, "host3", fleet, "host3", valid=timedelta(days=6)):
        code, bad = examined(scene, "host3")
    assert (code, bad.get("certificate: the certificate expires soon")) == (0, "warn"), bad
    scene.demand_calm()
