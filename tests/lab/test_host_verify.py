"""A host is repaired in the lab: a BIOS by its BMC, a supply that fails, memory that is mended; and it is verified."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from segue.adapters import integrity
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
PUSHED: Final = BIOS.replace("name: bios", "name: pushed").replace(
    'image: "http://files.example/bios-1.1.0.bin", version: "1.1.0"', 'image: bios.bin, version: "2.0.0"'
)
LAY: Final = """
mkdir -p /etc/segue/controller/firmware
cd /etc/segue/controller/firmware
(echo BIOS 2.0.0; head -c 20000000 /dev/urandom) > bios.bin
sha256sum bios.bin
"""
PROOF: Final = """
name: proof
scope: {hosts: [host2]}
procedure: [cordon, drain, {verify: {burn_in: 10s, within: 5m}}, uncordon]
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


@pytest.mark.timeout(300)
def test_memory_that_forgets_is_found_by_the_burn_in(fleet: Fleet) -> None:
    """Bits of the guest's memory are turned from outside, as a bad DIMM does it."""
    end = threading.Event()
    turned: list[int] = []

    def turn() -> None:
        while not end.is_set():
            with contextlib.suppress(FileNotFoundError):  # It has just ended.
                turned.extend(turn_bits(pid, 160 << 20, end) for pid in qemus(fleet.lab))
            end.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        bad = pool.submit(turn)
        try:
            told = fleet.segue(
                "host", "verify", "host2", "--burn-in", "60s", "--memory", "160MiB", "--stay", code=1
            )
        finally:
            end.set()
        bad.result()
    assert sum(turned) > 0
    assert "its own memory was not what it had written: bad" in told, told
    assert fleet.segue("vm", "list", "-o", "json") == []


def qemus(lab: Lab) -> Iterator[int]:
    """Of burn-in guests of this lab."""
    for folder in Path("/proc").iterdir():
        try:
            is_ours = (
                folder.name.isdigit() and str(lab.places.top).encode() in (folder / "environ").read_bytes()
            )
            if is_ours and b"segue.burn-in=" in (folder / "cmdline").read_bytes():
                yield int(folder.name)
        except OSError:
            continue


def memories(pid: int) -> list[Path]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed while we looked.
            if os.readlink(entry).startswith(integrity.MEMFD):
                found.append(entry)
    return found


def turn_bits(pid: int, memory_bytes: int, end: threading.Event) -> int:
    """In pages that the guest's writer has filled: number, count, then each word beside its opposite."""
    turned = 0
    for entry in memories(pid):
        fd = os.open(entry, os.O_RDWR | os.O_CLOEXEC)
        try:
            while os.fstat(fd).st_size == memory_bytes and turned < 2000 and not end.is_set():
                offset = random.randrange(0, memory_bytes, 4096)
                _, count, value, opposite = struct.unpack("<4Q", os.pread(fd, 32, offset))
                if count and value ^ opposite == (1 << 64) - 1:
                    byte = os.pread(fd, 1, offset + 2048)[0]
                    os.pwrite(fd, bytes([byte ^ 0x10]), offset + 2048)
                    turned += 1
        finally:
            os.close(fd)
    return turned


def test_a_maintenance_has_its_hosts_prove_themselves(fleet: Fleet) -> None:
    fleet.segue("maintenance", "plan", "-", stdin=PROOF)
    print(fleet.segue("maintenance", "start", "proof"))
    host = fleet.segue("maintenance", "report", "proof", "-o", "json")["hosts"][0]
    notes = {passed["title"]: passed["note"] for passed in host["passed"]}
    assert host["state"] == "done", host
    assert "host2 has passed" in notes["verify"]


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


@pytest.mark.parametrize("way", ["multipart", "plain"])
def test_a_bios_is_pushed_from_the_controllers_host(fleet: Fleet, way: str) -> None:
    sha256 = fleet.lab.exec("controller1", ["sh", "-ec", LAY], check=True).stdout.split()[0]
    fleet.hardware("host2", ways=[], bios="1.0.0")
    told = fleet.segue("maintenance", "plan", "-", code=4, stdin=PUSHED)
    assert "lets no image be pushed" in told
    fleet.hardware("host2", ways=[way], staged=True)
    assert f"20000011 bytes, sha256 {sha256}" in fleet.segue("maintenance", "plan", "-", stdin=PUSHED)
    print(fleet.segue("maintenance", "start", "pushed"))
    host = fleet.segue("maintenance", "report", "pushed", "-o", "json")["hosts"][0]
    assert host["state"] == "done", host
    assert "firmware of BIOS: 1.0.0 -> 2.0.0" in host["changes"]
    pushed = Hardware(fleet.lab.places.bmc / "host2.hardware.json").read()["pushed"]
    assert (pushed["way"], pushed["sha256"]) == (way, sha256)


def test_one_of_two_supplies_makes_its_host_suspect(fleet: Fleet) -> None:
    lost = {"State": "UnavailableOffline", "Health": "Critical"}
    well = {"State": "Enabled", "Health": "OK"}
    parts = [{"Name": "PSU 1", "Status": well}, {"Name": "PSU 2", "Status": lost}]
    fleet.hardware("host1", supplies=parts)
    wait_until(lambda: fleet.level("host1") == "suspect", "a supply is gone", LIMIT_S)
    assert "PSU 2: alarm 1 for 1 min" in fleet.segue("host", "health", "host1")
