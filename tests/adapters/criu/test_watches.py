"""What inotify had to tell a process, and nobody has read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from segue.adapters.criu.watches import Watches

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
