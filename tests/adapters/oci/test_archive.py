"""What kind of image a file holds, and that one of a stranger leads nowhere."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from segue.adapters.oci import archive, images, users
from segue.adapters.oci.archive import Form
from segue.errors import Refused
from segue.lab import oci_layout


def tar_of(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (("oci-layout", "index.json"), Form.OCI),
        (("./index.json", "./oci-layout"), Form.OCI),
        (("manifest.json", "abc/layer.tar"), Form.DOCKER),
        (("blobs/sha256/00", "manifest.json", "oci-layout"), Form.OCI),
        (("./rootfs/bin/sh", "./config.json"), Form.BUNDLE),
    ],
)
def test_forms(tmp_path: Path, names: tuple[str, ...], form: Form) -> None:
    assert archive.form_of(tar_of(tmp_path / "x.tar", *names), "web:1") is form


def test_what_is_none_is_refused_with_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="but etc"):
        archive.form_of(tar_of(tmp_path / "x.tar", "etc/passwd"), "web:1")
    (tmp_path / "y.tar").write_bytes(b"words" * 1000)
    with pytest.raises(Refused, match="no tar file"):
        archive.form_of(tmp_path / "y.tar", "web:1")


def test_the_same_folder_is_the_same_image(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/name").write_text("x")
    for name in ("one.tar", "two.tar"):
        oci_layout.write(root, {"Cmd": ["x"]}, "x:lab", tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        entry = json.load(index)["manifests"][0]
        manifest = tar.extractfile(f"blobs/{entry['digest'].replace(':', '/')}")
        assert manifest is not None
        assert entry["size"] == len(manifest.read())
    assert archive.form_of(tmp_path / "one.tar", "web:1") is Form.OCI


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    etc = tmp_path / "rootfs" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\nredis:x:999:998::/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nredis:x:998:\nssl:x:105:redis,www\nadm:x:4:\n")
    return tmp_path / "rootfs"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("redis", users.User(999, 998, (105,))),
        ("999", users.User(999, 998, (105,))),
        ("redis:adm", users.User(999, 4)),
        ("1000", users.User(1000, 0)),
        ("1000:1001", users.User(1000, 1001)),
        ("root", users.User(0, 0)),
    ],
)
def test_users_are_numbers(rootfs: Path, text: str, user: users.User) -> None:
    assert users.find(rootfs, text) == user


@pytest.mark.parametrize("text", ["nobody", "redis:nobody"])
def test_a_user_that_is_not_there_is_refused(rootfs: Path, text: str) -> None:
    with pytest.raises(Refused, match="has no nobody"):
        users.find(rootfs, text)


def test_a_link_in_an_image_leads_to_no_file_of_the_host(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("spy:x:77:77::/:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to(tmp_path / "secret")
    with pytest.raises(Refused):
        users.find(rootfs, "spy")


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"architecture": "arm64", "os": "linux"}, "arm64"),
        ({"architecture": "amd64", "os": "windows"}, "windows"),
    ],
)
def test_programs_of_another_machine_are_refused(config: dict[str, str], word: str) -> None:
    with pytest.raises(Refused, match=word):
        images.demand_fitting(config, "x86_64", "it is not taken in")
    images.demand_fitting({"architecture": "amd64", "os": "linux"}, "x86_64", "")
    images.demand_fitting({}, "x86_64", "")
