"""What inotify had to tell a process, and nobody has read."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from segue.adapters.criu.watches import Watches

MANY = 2000
"""More names than are read at once (32 KiB)."""
READS_A_FOLDER = """
import os, sys
place = os.open(sys.argv[1], os.O_PATH)
handle = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
for line in sys.stdin:
    if line == "begin\\n":
        names = os.scandir(handle)
        next(names)
    else:
        list(names) if line == "finish\\n" else names.close()
    print("done", flush=True)
"""
READS_WHEN_TOLD = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
handle = libc.inotify_init1(0)
assert libc.inotify_add_watch(handle, sys.argv[1].encode(), 0x100) >= 0
print("watches", flush=True)
sys.stdin.readline()
os.read(handle, 4096)
print("has read", flush=True)
sys.stdin.readline()
"""


def test_what_nobody_has_read_is_seen_and_a_process_that_ends_is_no_error(tmp_path: Path) -> None:
    watched, group = tmp_path / "watched", tmp_path / "group"
    for folder in (watched, group):
        folder.mkdir()
    command = [sys.executable, "-c", READS_WHEN_TOLD, str(watched)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "watches\n"
        (group / "cgroup.procs").write_text(f"{process.pid}\n999999999\n")
        watches = Watches(group)
        assert not watches.unread()
        (watched / "new").touch()
        assert watches.unread()
        process.stdin.write("read\n")
        process.stdin.flush()
        assert process.stdout.readline() == "has read\n"
        assert not watches.unread()
        watches.close()
        assert not watches.unread()


def test_what_tells_of_the_cgroup_alone_cannot_be_read_while_it_is_frozen(tmp_path: Path) -> None:
    """Its freezing is such an event: an application that watches its own cgroup could not be moved."""
    command = [sys.executable, "-c", READS_WHEN_TOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "watches\n"
        (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n")
        with contextlib.closing(Watches(tmp_path)) as watches:
            assert watches.unread()
        (tmp_path / "cgroup.freeze").touch()
        with contextlib.closing(Watches(tmp_path)) as watches:
            assert not watches.unread()
        process.stdin.write("read\n\n")


def test_whoever_is_amid_a_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number:030}").touch()
    command = [sys.executable, "-c", READS_A_FOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None

        def tell(word: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        assert process.stdout.readline() == "open\n"
        (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n")
        watches = Watches(tmp_path)
        assert not watches.reading()
        tell("begin")
        assert watches.reading()
        tell("finish")
        assert not watches.reading(), "at its end"
        tell("close")
        assert not watches.reading(), "and at its beginning"
        watches.close()
        assert not watches.reading()
        process.stdin.close()
