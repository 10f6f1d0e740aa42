"""Where memory is read that CRIU writes nowhere: of this test's own children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segue.adapters.criu import memory, sources
from segue.adapters.criu.sources import Sources
from tests.adapters.criu.standing import Standing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reads another process's memory")
HOLDS = """
import ctypes, os, sys
if sys.argv[1] == "memfd":
    kept = os.memfd_create("nobody maps it")
else:
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, 4096, 0o1600)
    assert segment >= 0
print("ready", flush=True)
sys.stdin.read()
if sys.argv[1] != "memfd":
    libc.shmctl(segment, 0, None)
"""


@contextmanager
def holding(what: str, group: Path) -> Iterator[None]:
    """In a name space of its own, as an application is."""
    argv = ["unshare", "--ipc", sys.executable, "-c", HOLDS, what]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (group / "cgroup.procs").write_text(f"{process.pid}\n")
        yield


def test_all_memory_of_a_process_is_found_again(tmp_path: Path) -> None:
    process = Standing(tmp_path)
    try:
        folder = tmp_path / "sunk"
        folder.mkdir()
        assert sources.sink(process.group, folder)
        (folder / "pages-1.img").write_bytes(b"x")
        sources.clear(folder)
        assert not list(folder.iterdir())
        found, inner = Sources(process.group), next(iter(memory.processes(process.group)))
        with found.opened(str(inner)) as handle:
            assert os.pread(handle, 3, process.own) == bytes((1, 2, 3))
        (inode,) = {
            span.inode for span in memory.spans_of(process.pid) if span.first <= process.shared < span.end
        }
        with found.opened(f"shmem-{inode}") as handle:
            assert os.pread(handle, 3, 0) == bytes((1, 2, 3))
        with pytest.raises(ValueError, match="nobody has"):
            found.opened("shmem-1").__enter__()
    finally:
        process.end()


@pytest.mark.parametrize("what", ["memfd", "segment"])
def test_memory_that_nobody_has_mapped_is_written_by_criu(tmp_path: Path, what: str) -> None:
    with holding(what, tmp_path):
        assert not sources.sink(tmp_path, tmp_path)
        assert not list(tmp_path.glob("pages-*"))
