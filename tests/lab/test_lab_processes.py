"""Which processes belong to a lab: never those of another one that comes up while this one goes down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segue.lab import places, processes

pytestmark = pytest.mark.lab
MADE = 60
ASLEEP = ("sh", "-c", "echo ready; exec sleep 60")


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    made: list[subprocess.Popen[bytes]] = []

    def begin(kind: str) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(["unshare", kind, *ASLEEP], stdout=subprocess.PIPE))
        assert made[-1].stdout is not None
        made[-1].stdout.readline()
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.communicate()


def test_a_lab_is_one_by_whatever_path_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `down` by a link to its folder takes its files away, and leaves its machines."""
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("SEGUE_LAB_DIR", str(tmp_path / "link"))
    assert places.of("one").top == tmp_path.resolve() / "one"


def test_a_namespace_that_is_made_meanwhile_is_not_taken_for_one_that_has_just_ended(
    start: Callable[[str], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives its number to the next one at once: a lab that was taken down killed another one's machines."""
    one = start("--net")
    number = _number(one.pid)

    def names() -> Iterator[int]:
        one.kill()
        one.wait()
        for _ in range(MADE):  # Namespaces go a moment after their last process.
            other = start("--net")
            yield other.pid
            if _number(other.pid) == number:
                return

    monkeypatch.setattr(processes, "_pids", names)
    assert processes.in_network_of([one.pid]) == []


def _number(pid: int) -> str:
    return os.readlink(Path(f"/proc/{pid}/ns/net"))
