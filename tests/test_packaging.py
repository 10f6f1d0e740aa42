"""The units that docs/how-to install: systemd itself finds nothing wrong with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segue.adapters.oci import bundle

UNITS = sorted((Path(__file__).parent.parent / "packaging").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    # The program is looked for, too; ours is installed elsewhere here.
    installed = unit.read_text().replace("/usr/local/bin/segue", sys.executable)
    (tmp_path / unit.name).write_text(installed)
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_controllers_unit_is_hardened_as_far_as_its_page_says(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    unit = next(unit for unit in UNITS if unit.stem == "segue-controller")
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_addition_for_applications_fits_the_agents_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    unit = next(unit for unit in UNITS if unit.stem == "segue-agent")
    shutil.copytree(unit.parent / f"{unit.name}.d", tmp_path / f"{unit.name}.d")
    (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/segue", sys.executable))
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_agent_may_give_applications_all_rights_that_they_have() -> None:
    unit = next(unit for unit in UNITS if unit.stem == "segue-agent")
    addition = unit.parent / f"{unit.name}.d" / "applications.conf"
    key = "CapabilityBoundingSet="
    lines = (unit.read_text() + addition.read_text()).splitlines()
    rights = {word for line in lines if line.startswith(key) for word in line.removeprefix(key).split()}
    assert set(bundle.CAPABILITIES) <= rights
