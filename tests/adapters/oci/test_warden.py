"""The real warden beside real processes: what they say, how they end, and that it needs nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from segue.adapters import system
from segue.adapters.oci import warden

LIMIT_S = 20.0


class Warded:
    """A warden, and a container that is a shell script which its maker leaves behind."""

    def __init__(
        self, folder: Path, script: str, *, log_bytes: int = 1 << 20, log_files: int = 3, make: str = ""
    ) -> None:
        self.folder = folder
        files = {name: str(folder / name) for name in ("pid_file", "warden", "exit", "lock", "logs")}
        start = make or f"sh -c '{script}' & echo $! > {files['pid_file']}"
        spec = {"argv": ["sh", "-c", start], "log_bytes": log_bytes, "log_files": log_files, **files}
        (folder / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-I", "-S", warden.__file__, str(folder / "spec.json")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def ends(self) -> dict[str, Any]:
        self.process.wait(LIMIT_S)
        found: dict[str, Any] = json.loads((self.folder / "exit").read_text())
        return found

    def lines(self, name: str = "current") -> list[list[str]]:
        return [line.split(" ", 3) for line in (self.folder / "logs" / name).read_text().splitlines()]


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)]
)
def test_it_says_how_the_application_ended(tmp_path: Path, script: str, status: int) -> None:
    warded = Warded(tmp_path, f"sleep 0.2; {script}")
    assert warded.said.startswith("ready ")
    assert warded.ends()["status"] == status


def test_both_outputs_are_kept_with_their_lines_whole(tmp_path: Path) -> None:
    warded = Warded(tmp_path, "echo one; echo two >&2; printf three; sleep 0.2")
    warded.ends()
    assert sorted(line[1:] for line in warded.lines()) == [
        ["stderr", "F", "two"],
        ["stdout", "F", "one"],
        ["stdout", "F", "three"],
    ]


def test_a_line_without_an_end_does_not_grow_in_memory(tmp_path: Path) -> None:
    warded = Warded(tmp_path, "head -c 100000 /dev/zero | tr \\\\0 x; sleep 0.2")
    warded.ends()
    parts = [line for line in warded.lines() if line[2] == "P"]
    assert len(parts) == 100_000 // warden.LINE_BYTES_MAX
    assert sum(len(line[3]) for line in warded.lines()) == 100_000


def test_its_files_are_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    warded = Warded(tmp_path, "seq 1 2000; sleep 0.2", log_bytes=10_000, log_files=3)
    warded.ends()
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["1", "2", "current"]
    assert all(path.stat().st_size <= 10_000 for path in (tmp_path / "logs").iterdir())
    kept = [int(line[3]) for name in ("2", "1", "current") for line in warded.lines(name)]
    assert kept == list(range(kept[0], 2001)), "what is kept is the end of it, without a gap"


def test_nothing_is_left_to_do_when_the_container_cannot_be_made(tmp_path: Path) -> None:
    warded = Warded(tmp_path, "", make="echo this is why >&2; exit 3")
    assert warded.said == "failed sh ended with status 3"
    assert warded.process.wait(LIMIT_S) == 1
    assert not (tmp_path / "warden").exists()


def test_there_is_one_warden_of_an_application(tmp_path: Path) -> None:
    first = Warded(tmp_path, "exec sleep 30")
    second = Warded(tmp_path, "exec sleep 30")
    assert second.said == "failed there is a warden of this application already"
    os.kill(int(first.said.split()[1]), signal.SIGKILL)
    assert first.ends()["status"] == -signal.SIGKILL


def test_whoever_comes_later_finds_the_process_and_knows_that_it_is_the_same(tmp_path: Path) -> None:
    warded = Warded(tmp_path, "exec sleep 30")
    found = json.loads((tmp_path / "warden").read_text())
    assert system.birth(found["pid"]) == found["birth"] != ""
    assert found["warden"] == warded.process.pid
    os.kill(found["pid"], signal.SIGKILL)
    warded.ends()
    assert system.birth(found["pid"]) == ""


async def _waits(pid: int) -> None:
    done = asyncio.Event()
    handle = os.pidfd_open(pid)
    asyncio.get_running_loop().add_reader(handle, done.set)
    await asyncio.wait_for(done.wait(), LIMIT_S)
    asyncio.get_running_loop().remove_reader(handle)
    os.close(handle)


def test_an_application_that_is_read_by_nobody_goes_on(tmp_path: Path) -> None:
    """Whoever started the warden hangs up: as an agent that is killed."""
    warded = Warded(tmp_path, "sleep 0.3; echo later; exit 5")
    assert warded.process.stdout is not None
    warded.process.stdout.close()
    asyncio.run(_waits(int(warded.said.split()[1])))
    assert warded.ends()["status"] == 5
    assert [line[3] for line in warded.lines()] == ["later"]


def test_other_orphans_are_buried(tmp_path: Path) -> None:
    """Programs that helped to make the container may end after whoever started them."""
    pids = tmp_path / "pid_file"
    warded = Warded(tmp_path, "", make=f"sleep 0 & sleep 0.1 & sleep 0.5 & echo $! > {pids}; sleep 0.05")
    assert warded.said.startswith("ready ")
    deadline = time.monotonic() + LIMIT_S
    children = Path(f"/proc/{warded.process.pid}/task/{warded.process.pid}/children")
    while children.read_text().split() != [pids.read_text().strip()]:
        assert time.monotonic() < deadline, children.read_text()
    assert warded.ends()["status"] == 0
