"""Whatever happens in a folder between rounds, the copy is the same after the last one; and no link leads out of it."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.adapters.criu import tree
from segue.adapters.criu.tree import BLOCK_BYTES, Copy, Rounds
from tests.thorough import examples

REALTIME_COARSE = 5
"""The kernel's clock that files get their times from; Python has no name for it."""
NAMES = st.sampled_from(["a", "b", "c/a", "c/b", "c/d/a"])
CONTENT = st.one_of(
    st.binary(max_size=8), st.binary(min_size=1, max_size=3).map(lambda one: one * BLOCK_BYTES)
)


def _write(top: Path, name: str, content: bytes) -> None:
    path = _free(top, name)
    path.write_bytes(content)


def _free(top: Path, name: str) -> Path:
    """The path with nothing there, and folders above it."""
    path = top / name
    for above in reversed(path.relative_to(top).parents):
        if (top / above).is_symlink() or (top / above).is_file():
            (top / above).unlink()
        (top / above).mkdir(exist_ok=True)
    _remove(top, name)
    return path


def _remove(top: Path, name: str) -> None:
    path = top / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def _append(top: Path, name: str, content: bytes) -> None:
    if (top / name).is_file():
        with (top / name).open("ab") as file:
            file.write(content)


def _link(top: Path, name: str, content: bytes) -> None:
    _free(top, name).symlink_to("/etc" if content else "a")


def _twice(top: Path, name: str, content: bytes) -> None:
    if (top / "a").is_file() and name != "a":
        os.link(top / "a", _free(top, name))


def _mode(top: Path, name: str, content: bytes) -> None:
    if (top / name).is_file() and not (top / name).is_symlink():
        (top / name).chmod(0o4711 if content else 0o600)


DEEDS: list[Callable[[Path, str, bytes], None]] = [
    _write, _append, _link, _twice, _mode, lambda top, name, _: _remove(top, name),
]  # fmt: skip


def _shown(top: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder, name)
            about = path.lstat()
            what: Any = os.readlink(path) if path.is_symlink() else ""
            if stat.S_ISREG(about.st_mode):
                what = path.read_bytes()
            found[str(path.relative_to(top))] = (about.st_mode, about.st_mtime_ns, what)
    return found


deeds = st.lists(st.tuples(st.sampled_from(DEEDS), NAMES, CONTENT), max_size=6)


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds=st.lists(deeds, min_size=1, max_size=4))
def test_the_copy_is_equal_after_each_round(tmp_path: Path, rounds: list[Any]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for top in (here, there):
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
    (here / "upper").mkdir()
    source, target = Rounds(here, ("upper", "volumes")), Copy(there)
    for round_ in rounds:
        for deed, name, content in round_:
            deed(here / "upper", name, content)
        source.run(target.take)
        target.finish()
        assert _shown(here) == _shown(there)


def test_only_blocks_that_changed_are_sent(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "upper").mkdir(parents=True)
    there.mkdir()
    file = here / "upper" / "log"
    file.write_bytes(b"x" * 4 * BLOCK_BYTES)
    source, target = Rounds(here, ("upper",)), Copy(there)
    assert source.run(target.take) == 4 * BLOCK_BYTES
    with file.open("ab") as log:
        log.write(b"more")
    assert source.run(target.take) == 4
    target.finish()
    assert (there / "upper" / "log").read_bytes() == file.read_bytes()


def test_holes_are_neither_sent_nor_filled_and_zeros_over_content_are(tmp_path: Path) -> None:
    hole = 1 << 30
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "upper").mkdir(parents=True)
    there.mkdir()
    file, copy = here / "upper" / "disk", there / "upper" / "disk"
    source, target = Rounds(here, ("upper",)), Copy(there)
    with file.open("wb") as disk:
        disk.truncate(hole)
        disk.seek(hole - 1)
        disk.write(b"e")
    assert source.run(target.take) == BLOCK_BYTES
    with file.open("r+b") as disk:
        disk.write(bytes(BLOCK_BYTES))  # Written, and yet nothing that the other host lacks.
        disk.seek(hole - 1)
        disk.write(b"\0")
        disk.truncate(hole + 3 * BLOCK_BYTES)
    assert source.run(target.take) == BLOCK_BYTES
    target.finish()
    assert copy.stat().st_size == file.stat().st_size
    assert copy.stat().st_blocks * 512 <= 2 * BLOCK_BYTES
    with copy.open("rb") as disk:
        disk.seek(hole - BLOCK_BYTES)
        assert not any(disk.read(4 * BLOCK_BYTES))


@pytest.mark.parametrize("number", [2, 1])
def test_a_file_that_is_made_anew_keeps_nothing_of_the_one_before(tmp_path: Path, number: int) -> None:
    """Another name for it came, or went: what had content there and has none now is sent all the same."""
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "upper").mkdir(parents=True)
    there.mkdir()
    file, other = here / "upper" / "one", here / "upper" / "two"
    source, target = Rounds(here, ("upper",)), Copy(there)
    file.write_bytes(b"x" * 2 * BLOCK_BYTES)
    if number == 1:
        os.link(file, other)
    source.run(target.take)
    file.write_bytes(bytes(2 * BLOCK_BYTES))
    other.unlink() if number == 1 else os.link(file, other)
    source.run(target.take)
    target.finish()
    assert (there / "upper" / "one").read_bytes() == bytes(2 * BLOCK_BYTES)


@pytest.mark.parametrize("path", ["../out", "/etc/x", "upper/../../x", "upper//x", "", "link/x"])
def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    outside, there = tmp_path / "outside", tmp_path / "there"
    outside.mkdir()
    there.mkdir()
    (there / "link").symlink_to(outside)
    said = {
        "path": path,
        "mode": stat.S_IFREG | 0o600,
        "uid": 0,
        "gid": 0,
        "size": 0,
        "mtime_ns": 0,
        "xattrs": {},
    }
    with pytest.raises((ValueError, OSError)):
        Copy(there).take("entry", 0, json.dumps(said).encode())
    assert not list(outside.iterdir())


def test_what_a_mapping_writes_behind_the_look_of_one_round_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick_ns = int(2e9 * time.clock_getres(REALTIME_COARSE))
    monkeypatch.setattr(tree, "TICK_NS", tick_ns)
    source = tmp_path / "source"
    for part in ("upper", "volumes"):
        (source / part).mkdir(parents=True)
    (source / "upper" / "first").write_bytes(b"1")
    mapped = source / "volumes" / "mapped"
    mapped.write_bytes(bytes(2 * BLOCK_BYTES))
    (tmp_path / "target").mkdir()
    copy, rounds = Copy(tmp_path / "target"), Rounds(source, ("upper", "volumes"))
    with mapped.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:

        def send(what: str, offset: int, data: bytes) -> None:
            if what == "entry" and data.find(b"first") >= 0:
                view[0] = 1  # After the sync: the file's time changes, and not again before the next sync.
            copy.take(what, offset, data)
            if what == "block" and len(data) == BLOCK_BYTES and offset == 0:
                view[0] = 2

        rounds.run(send)
        while time.time_ns() <= mapped.stat().st_ctime_ns + tick_ns:
            pass  # The second round begins when that time alone says that nothing has changed.
        rounds.run(copy.take)
    copy.finish()
    assert (tmp_path / "target" / "volumes" / "mapped").read_bytes() == mapped.read_bytes()
    assert mapped.read_bytes()[0] == 2
