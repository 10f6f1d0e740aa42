"""The RAM disk is what the kernel expects: read back by the description of the format."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.lab import cpio


def read(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> (mode, data), read by the format's own description and nothing of ours."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_end = at + 110 + fields[11]
        name = archive[at + 110 : name_end - 1].decode()
        assert archive[name_end - 1] == 0
        start = (name_end + 3) // 4 * 4
        at = (start + fields[6] + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return found
        found[name] = (fields[1], archive[start : start + fields[6]])


@given(st.dictionaries(st.text("abcxyz.-", min_size=1, max_size=12), st.binary(max_size=50), max_size=8))
def test_every_file_comes_back_as_it_was(files: dict[str, bytes]) -> None:
    archive = cpio.Archive()
    for name, data in files.items():
        archive.file(name, data)
    assert {name: data for name, (_, data) in read(archive.finish()).items()} == files


def test_folders_stand_before_what_is_in_them() -> None:
    archive = cpio.Archive()
    archive.file("bin/deep/tool", b"x", 0o755)
    archive.link("bin/deep/other", "tool")
    archive.console("dev/console")
    entries = read(archive.finish())
    assert list(entries) == ["bin", "bin/deep", "bin/deep/tool", "bin/deep/other", "dev", "dev/console"]
    assert entries["bin/deep/tool"][0] == stat.S_IFREG | 0o755
    assert entries["bin/deep/other"] == (stat.S_IFLNK | 0o777, b"tool")
    assert stat.S_ISCHR(entries["dev/console"][0])


def test_one_name_twice_is_a_mistake_of_the_recipe() -> None:
    archive = cpio.Archive()
    archive.file("init", b"one")
    with pytest.raises(ValueError, match="init is in the archive already"):
        archive.file("init", b"two")
