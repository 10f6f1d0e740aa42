"""As which user CRIU reads what limits processes have, asked of this kernel."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.adapters.criu import look

OTHER = 7


@pytest.fixture
def other() -> Iterator[int]:
    """A process of another user."""
    if os.geteuid() != 0:
        pytest.skip("only root may start processes of other users")
    sleeper = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=OTHER, group=OTHER, extra_groups=[]
    )
    yield sleeper.pid
    sleeper.communicate()


def group(folder: Path, *pids: int) -> Path:
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return folder


def test_as_it_is_where_the_processes_are_its_own(tmp_path: Path) -> None:
    assert look.reads_as(group(tmp_path, os.getpid())) == (os.getuid(), os.getgid())


def test_as_their_user_where_they_are_of_another_one(tmp_path: Path, other: int) -> None:
    found = look.reads_as(group(tmp_path, other))
    assert found is not None
    script = f"import resource; print(resource.prlimit({other}, resource.RLIMIT_NOFILE))"
    real = [
        "setpriv",
        "--keep-groups",
        f"--ruid={found[0]}",
        f"--rgid={found[1]}",
        sys.executable,
        "-c",
        script,
    ]
    said = subprocess.run(real, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(resource.getrlimit(resource.RLIMIT_NOFILE))


def test_as_nobody_where_they_are_of_several_unless_it_may_read_all(tmp_path: Path, other: int) -> None:
    found = look.reads_as(group(tmp_path, os.getpid(), other))
    try:
        resource.prlimit(other, resource.RLIMIT_NOFILE)
    except PermissionError:
        assert found is None
    else:
        assert found == (os.getuid(), os.getgid())
