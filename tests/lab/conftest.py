"""A lab of its own for the tests, in a folder of its own, so that a lab in use is never touched."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from segue.errors import SegueError
from segue.lab.api import Lab
from tests.lab.scene import Scene

LIMIT_S = 30.0


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces; the limit is for a busy machine."""
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {LIMIT_S:.0f} s: {what}"


def traces(lab: Lab) -> list[str]:
    """Everything that a lab could have left on this machine: processes, mounts, cgroups, files."""
    top = str(lab.places.top)
    found = [f"file {top}"] if lab.places.top.exists() else []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if top.encode() in (folder / "environ").read_bytes():
                found.append(f"process {folder.name}: {(folder / 'cmdline').read_bytes()!r}")
            if f"{top}/" in (folder / "mountinfo").read_text():
                found.append(f"mount in the namespace of {folder.name}")
        except OSError:  # it ended while we looked
            continue
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/segue-lab-{lab.places.name}-*")]
    return found


def interfaces() -> str:
    """The machine's own interfaces, which a lab never adds to."""
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def labs_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    folder = tmp_path_factory.mktemp("labs")
    before = os.environ.get("SEGUE_LAB_DIR")
    os.environ["SEGUE_LAB_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SEGUE_LAB_DIR"]
    else:
        os.environ["SEGUE_LAB_DIR"] = before


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    """Two hosts and a client, shared by the tests of one file."""
    made = Lab(f"t{os.getpid()}")
    made.up(hosts=2, clients=1, images=())
    yield made
    made.down()


@pytest.fixture
def no_lab(labs_folder: Path) -> Iterator[Lab]:
    """A name under which nothing exists; whatever the test makes of it is taken away."""
    made = Lab(f"n{os.getpid()}")
    yield made
    made.down()


@pytest.fixture(scope="package")
def stage(labs_folder: Path) -> Iterator[Scene]:
    """Three hosts, a client and a guest, for all tests of faults."""
    made = Scene(f"f{os.getpid()}")
    yield made
    made.down()


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """The stage, calm: after a case that failed it is made anew."""
    try:
        assert stage.is_up
        stage.begin()
    except (AssertionError, SegueError, OSError):
        stage.heal()
        stage.begin()
    return stage


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A case that failed shows what the agents wrote meanwhile."""
    report = yield
    found = getattr(item, "funcargs", {}).get("scene")
    if report.when == "call" and report.failed and isinstance(found, Scene):
        report.sections += found.logs()
    return report
