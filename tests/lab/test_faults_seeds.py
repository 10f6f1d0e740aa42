"""A short run of `make faults`: some cases with a local disk, whose every block is checked afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import play, report
from faults.cases import DAEMON, UNTIL_END, Case
from faults.stage import Stage

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
slow = pytest.mark.slow
DISK = "local qcow2"
CASES = (
    pytest.param(Case(-1, DISK, "kill", DAEMON, "source", "begun mirror disks"), marks=slow),
    pytest.param(
        Case(-2, DISK, "freeze", "source qemu", "source", "before released", hold_s=2.0), marks=slow
    ),
    Case(-3, DISK, "fill", "target disk", "source", "begun mirror disks", hold_s=UNTIL_END),
    pytest.param(Case(-4, DISK, "kill", "target agent", "target", "hears grant"), marks=slow),
)


@pytest.fixture(scope="module")
def stage(labs_folder: Path) -> Iterator[Stage]:
    made = Stage(f"s{os.getpid()}")
    made.up()
    yield made
    made.down()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_does_no_harm(stage: Stage, case: Case) -> None:
    outcome = play.play(stage, case)
    assert outcome["hit"], "there was nothing to hit"
    assert not report.is_bad(outcome), outcome
    assert outcome["disk_blocks"] == "ok 4096"
