"""A host is repaired in the lab: a BIOS by its BMC, a supply that fails, memory that is mended; and it is verified."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.lab.api import Lab
from segue.lab.bmc_hardware import Hardware
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]
DIMM: Final = "/root/hardware/sys/devices/system/edac/mc/mc0/dimm0"
EDAC: Final = f"""
mkdir -p {DIMM}
echo DIMM_A1 > {DIMM}/dimm_label; echo 4 > {DIMM}/dimm_ce_count; echo 0 > {DIMM}/dimm_ue_count
cat >> /etc/segue/agent.toml <<EOF

[health]
sysfs = "/root/hardware/sys"
every_s = 1
EOF
sv -w 20 restart segue-agent
"""
BIOS: Final = """
name: bios
scope: {hosts: [host2]}
strategy: {max_blackout: 5s}
procedure: firmware-update
with: {image: "http://files.example/bios-1.1.0.bin", version: "1.1.0"}
"""
LIMIT_S: Final = 200.0


class Fleet:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def segue(self, *words: str, code: int = 0, stdin: str = "") -> Any:
        done = self.lab.exec("controller1", ["segue", *words], input=stdin, timeout=600.0)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr

    def level(self, host: str) -> str:
        shown = self.lab.exec("controller1", ["segue", "host", "health", host, "-o", "json"], timeout=60.0)
        return str(json.loads(shown.stdout)["level"]) if shown.stdout else ""

    def up(self) -> int:
        return int(self.segue("status", "-o", "json")["hosts_up"])

    def hardware(self, host: str, **parts: Any) -> None:
        found = Hardware(self.lab.places.bmc / f"{host}.hardware.json")
        found.write({**found.read(), **parts})


@pytest.fixture(scope="module")
def fleet(labs_folder: Path) -> Iterator[Fleet]:
    lab = Lab(f"vf{os.getpid()}")
    try:
        lab.up(hosts=2, clients=0, controllers=1, bmc=True)
        lab.wait_for_services(60.0)
        made = Fleet(lab)
        wait_until(lambda: made.up() == 2, "both hosts are connected")
        yield made
    finally:
        Lab(lab.places.name).down()


def test_a_host_that_is_well_passes_and_nothing_is_left_of_it(fleet: Fleet) -> None:
    begun_s = time.monotonic()
    told = fleet.segue("host", "verify", "host2", "--burn-in", "15s", "--memory", "160MiB")
    assert "host2 has passed" in told, told
    found = fleet.segue("host", "verify", "host2", "--last", "-o", "json")
    print(f"verified in {time.monotonic() - begun_s:.0f} s:", found["checks"])
    assert [check["name"] for check in found["checks"]] == [
        "doctor", "health", "burn-in", "move", "health after it",
    ]  # fmt: skip
    assert "to host1 and back" in found["checks"][3]["text"]
    assert fleet.segue("vm", "list", "-o", "json") == []


def test_failing_memory_passes_only_once_it_is_mended(fleet: Fleet) -> None:
    lab = fleet.lab
    lab.exec("host2", ["sh", "-ec", EDAC], check=True)
    wait_until(lambda: fleet.level("host2") == "healthy", "its memory is seen", LIMIT_S)
    lab.exec("host2", ["sh", "-c", f"echo 90 > {DIMM}/dimm_ce_count"], check=True)
    wait_until(lambda: fleet.level("host2") == "failing", "it fails", LIMIT_S)
    told = fleet.segue("host", "verify", "host2", "--burn-in", "5s", "--stay", code=1)
    assert "memory/DIMM_A1 is failing" in told
    told = fleet.segue(
        "host",
        "verify",
        "host2",
        "--burn-in",
        "5s",
        "--stay",
        "--memory",
        "160MiB",
        "--mended",
        "memory/DIMM_A1",
    )
    assert "host2 has passed" in told
    assert fleet.level("host2") == "healthy"


def test_a_bios_is_brought_and_the_host_is_started_anew(fleet: Fleet) -> None:
    fleet.segue("vm", "create", "g1", "--host", "host2", "--memory", "128MiB")
    fleet.hardware("host2", staged=True)
    fleet.segue("maintenance", "plan", "-", stdin=BIOS)
    print(fleet.segue("maintenance", "start", "bios"))
    report = fleet.segue("maintenance", "report", "bios", "-o", "json")
    host = report["hosts"][0]
    assert (report["state"], host["state"]) == ("done", "done"), report
    assert "firmware of BIOS: 1.0.0 -> 1.1.0" in host["changes"]
    note = next(passed["note"] for passed in host["passed"] if passed["title"] == "firmware")
    assert "it shut down by itself; back after" in note
    assert [(o["guest"], o["target"]) for o in host["outages"]] == [("g1", "host1")]
    shown = {
        guest["name"]: (guest["host"], guest["state"]) for guest in fleet.segue("vm", "list", "-o", "json")
    }
    assert shown == {"g1": ("host1", "running")}


def test_one_of_two_supplies_makes_its_host_suspect(fleet: Fleet) -> None:
    lost = {"State": "UnavailableOffline", "Health": "Critical"}
    well = {"State": "Enabled", "Health": "OK"}
    parts = [{"Name": "PSU 1", "Status": well}, {"Name": "PSU 2", "Status": lost}]
    fleet.hardware("host1", supplies=parts)
    wait_until(lambda: fleet.level("host1") == "suspect", "a supply is gone", LIMIT_S)
    assert "PSU 2: alarm 1 for 1 min" in fleet.segue("host", "health", "host1")
