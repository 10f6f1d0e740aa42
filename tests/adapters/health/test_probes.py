"""The contract of every probe: it sees what real sources say, and a damaged one is `cannot see`, never an exception."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.adapters.health import (
    block,
    clock,
    cpu,
    hwmon,
    kmsg,
    memory,
    nic,
    own,
    pressure,
    qemu,
    rasdaemon,
    smart,
    storage,
)
from segue.adapters.health.source import Look, Roots, Unseen, whole_disk
from segue.engine.watch import Probe
from segue.model.health import Kind, Part, Sample
from segue.policy.health_table import BUILT_IN
from tests.adapters.health import hosts
from tests.adapters.health.hosts import FakeRoots, put

MAKERS: dict[str, Callable[[Roots], Probe]] = {
    "memory": memory.Memory,
    "rasdaemon": rasdaemon.Rasdaemon,
    "cpu": cpu.Cpu,
    "block": block.Block,
    "smart": smart.Smart,
    "nic": nic.Nic,
    "hwmon": hwmon.Hwmon,
    "kmsg": kmsg.Kmsg,
    "pressure": pressure.Pressure,
    "clock": clock.Clock,
    "qemu": qemu.Qemu,
    "storage": lambda roots: storage.Storage((roots.sysfs.parent,)),
    "loop": lambda roots: own.Loop(),
    "journal": lambda roots: own.Journal(roots.sysfs.parent),
}
NEEDS_FILES = sorted(MAKERS.keys() - {"clock", "loop", "journal", "storage"})
every_probe = pytest.mark.parametrize("name", sorted(MAKERS))


@pytest.fixture
def there(tmp_path: Path) -> FakeRoots:
    return FakeRoots(tmp_path)


def seen(sample: Sample) -> dict[str, float]:
    return {f"{reading.part.key} {reading.signal}": reading.value for reading in sample.readings}


# The contract


@every_probe
def test_a_well_host_is_seen_whole(there: FakeRoots, name: str) -> None:
    probe = MAKERS[name](there.roots())
    sample = probe.look()
    assert (probe.name, sample.probe) == (name, name)
    assert sample.blind == ()
    assert sample.readings
    assert all(reading.source for reading in sample.readings)
    assert probe.every_s >= 30


@every_probe
def test_a_second_look_says_the_same(there: FakeRoots, name: str) -> None:
    if name in {"storage", "journal", "clock"}:
        pytest.skip("it measures time")
    probe = MAKERS[name](there.roots())
    assert seen(probe.look()) == seen(probe.look())


@pytest.mark.parametrize("name", NEEDS_FILES)
def test_nothing_there_is_cannot_see_with_a_reason(tmp_path: Path, name: str) -> None:
    empty = tmp_path / "nothing"
    roots = Roots(empty, empty, empty, empty, empty, str(empty / "smartctl"), str(empty / "chronyc"))
    sample = MAKERS[name](roots).look()
    assert all(reading.value == 0 for reading in sample.readings)
    assert name == "smart" or sample.blind, "without disks there is nothing that smartctl could not say"
    assert all(one.probe == name and one.what and one.why for one in sample.blind)


@every_probe
@pytest.mark.parametrize("seed", range(12))
def test_garbage_is_never_an_exception(there: FakeRoots, name: str, seed: int) -> None:
    """Every file of the roots becomes noise, is cut, emptied, or turned into a folder."""
    noise = random.Random(seed)
    for path in sorted(path for path in there.top.rglob("*") if path.is_file() and path.name != "smartctl"):
        fate = noise.randrange(5)
        content = path.read_bytes()
        if fate == 0:
            path.write_bytes(noise.randbytes(64))
        elif fate == 1:
            path.write_bytes(content[: noise.randrange(len(content) + 1)])
        elif fate == 2:
            path.write_bytes(content[::-1])
        elif fate == 3:
            path.unlink()
            path.mkdir()
    probe = MAKERS[name](there.roots())
    for _ in range(2):
        sample = probe.look()
        assert all(isinstance(reading.value, int | float) for reading in sample.readings)


@every_probe
def test_what_rules_judge_is_seen_by_a_probe(there: FakeRoots, name: str) -> None:
    """A misspelt signal would be a rule that never says anything."""
    judged = {(rule.kind, rule.signal) for rule in BUILT_IN} | {(rule.kind, rule.per) for rule in BUILT_IN}
    there.answer("sda", hosts.SAS)
    told = MAKERS[name](there.roots()).look()
    there.answer("sda", hosts.ATA)
    told_more = MAKERS[name](there.roots()).look()
    signals = {(reading.part.kind, reading.signal) for reading in (*told.readings, *told_more.readings)}
    assert signals & judged
    if name == "smart":
        assert signals <= judged


TOLD_BY_BMCS = {
    *((kind, "warning") for kind in (Kind.POWER, Kind.FAN, Kind.TEMPERATURE)),
    *((kind, "present") for kind in (Kind.POWER, Kind.FAN)),
}
"""See tests/adapters/test_sensors.py."""


def test_every_rule_has_a_probe(there: FakeRoots) -> None:
    told: set[tuple[Kind, str]] = set()
    for make in MAKERS.values():
        told |= {(reading.part.kind, reading.signal) for reading in make(there.roots()).look().readings}
    assert {(rule.kind, rule.signal) for rule in BUILT_IN} - told == TOLD_BY_BMCS
    assert {(rule.kind, rule.per) for rule in BUILT_IN if rule.per} <= told


# One by one


def test_memory(there: FakeRoots) -> None:
    probe = memory.Memory(there.roots())
    found = seen(probe.look())
    assert found["memory/DIMM_A1 corrected"] == 4
    assert found["memory/pages poisoned_bytes"] == 8192
    put(there.sysfs / "devices/system/edac/mc/mc0/dimm0/dimm_ce_count", "many")
    sample = probe.look()
    assert "memory/DIMM_A1 corrected" not in seen(sample)
    assert seen(sample)["memory/DIMM_B1 corrected"] == 0, "the others are still seen"
    assert "'many' is not a number" in sample.blind[0].why


def test_memory_of_an_old_driver_and_without_labels(there: FakeRoots) -> None:
    controller = there.sysfs / "devices/system/edac/mc/mc1"
    put(controller / "csrow0/ch0_ce_count", 7)
    put(controller / "csrow0/ch0_dimm_label", "")
    put(there.sysfs / "devices/system/edac/mc/mc0/dimm1/dimm_label", "DIMM_A1")
    found = seen(memory.Memory(there.roots()).look())
    assert found["memory/mc1 csrow0 ch0 corrected"] == 7
    assert found["memory/DIMM_A1 (mc0) corrected"] == 0, "two of the same label are two"


def test_rasdaemon_counts_on(there: FakeRoots) -> None:
    probe = rasdaemon.Rasdaemon(there.roots())
    found = seen(probe.look())
    assert found["memory/DIMM_A1 recorded_corrected"] == 3
    assert found["memory/DIMM_A1 recorded_uncorrected"] == 1
    assert found["cpu/cpu5 recorded_checks"] == 1, "an uncorrected one is not a corrected one"
    there.errors("DIMM_A1", 5)
    there.errors("DIMM_C1", 2)
    found = seen(probe.look())
    assert (found["memory/DIMM_A1 recorded_corrected"], found["memory/DIMM_C1 recorded_corrected"]) == (8, 0)
    assert seen(probe.look())["memory/DIMM_C1 recorded_corrected"] == 2, (
        "a new part is told as 0 first: it rose"
    )


def test_cpu(there: FakeRoots) -> None:
    found = seen(cpu.Cpu(there.roots()).look())
    assert found == {
        "cpu/package 0 throttled": 1,
        "cpu/all cores_online": 2,
        "cpu/package 0 machine_checks": 1,
    }


def test_what_is_plugged_in_and_out_is_no_part_of_the_host(there: FakeRoots) -> None:
    put(there.sysfs / "block/sdb/removable", 1)
    put(there.sysfs / "block/sdb/device/model", "stick")
    put(there.sysfs / "devices/pci0000:00/usb1/1-2/host9/model", "a disk in a USB case")
    (there.sysfs / "block/sdc").mkdir()
    (there.sysfs / "block/sdc/device").symlink_to(there.sysfs / "devices/pci0000:00/usb1/1-2/host9")
    put(there.sysfs / "class/net/eno1v0/device/physfn/vendor", "0x8086")
    put(there.sysfs / "class/net/eno1v0/carrier", 1)
    found = {**seen(kmsg.Kmsg(there.roots()).look()), **seen(nic.Nic(there.roots()).look())}
    assert "disk/sda io_errors" in found
    assert not [key for key in found if "sdb" in key or "sdc" in key or "eno1v0" in key]


def test_block(there: FakeRoots) -> None:
    found = seen(block.Block(there.roots()).look())
    assert found["disk/sda ios"] == 3000
    assert found["disk/sda busy_ms"] == 9000
    assert found["disk/sda device_errors"] == 0x1F
    assert found["disk/md0 missing_members"] == 1
    assert not [key for key in found if "loop0" in key or "sda1" in key]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (hosts.ATA, {"smart_failed": 0, "reallocated": 8, "uncorrectable": 2, "timeouts": 1, "pending": 3}),
        (
            hosts.NVME,
            {"critical_warning": 0, "spare_of_threshold": 9.9, "uncorrectable": 7, "used_percent": 3},
        ),
        (hosts.SAS, {"smart_failed": 1, "reallocated": 12, "uncorrectable": 5, "temperature_c": 27}),
    ],
    ids=["ATA", "NVMe", "SAS"],
)
def test_smartctl(there: FakeRoots, said: dict[str, object], wanted: dict[str, float]) -> None:
    there.answer("sda", said)
    found = seen(smart.Smart(there.roots()).look())
    assert {signal: found[f"disk/sda {signal}"] for signal in wanted} == wanted


def test_heat_alone_is_no_defect_of_an_nvme_disk(there: FakeRoots) -> None:
    log = {**hosts.NVME["nvme_smart_health_information_log"], "critical_warning": 0b10}
    there.answer("sda", {**hosts.NVME, "nvme_smart_health_information_log": log})
    assert seen(smart.Smart(there.roots()).look())["disk/sda critical_warning"] == 0
    log["critical_warning"] = 0b110
    there.answer("sda", {**hosts.NVME, "nvme_smart_health_information_log": log})
    assert seen(smart.Smart(there.roots()).look())["disk/sda critical_warning"] == 0b100


def test_smartctl_that_cannot_open_a_disk_says_why(there: FakeRoots) -> None:
    there.answer("sda", hosts.ABSENT)
    sample = smart.Smart(there.roots()).look()
    assert "Unable to detect device type" in sample.blind[0].why
    assert "disk/nvme0n1 critical_warning" in seen(sample)
    endless = json.dumps({**hosts.NVME, "temperature": {"current": float("inf")}})
    look = Look("smart")
    smart.read(look, Part(Kind.DISK, "nvme0n1"), "/dev/nvme0n1", endless)
    assert [one.why for one in look.blind] == ["temperature_c is inf"]
    with pytest.raises(Unseen, match="cannot be read"):
        smart.read(Look("smart"), Part(Kind.DISK, "sda"), "/dev/sda", '{"smartctl": []}')


def test_nic(there: FakeRoots) -> None:
    probe, net = nic.Nic(there.roots()), there.sysfs / "class/net"
    sample = probe.look()
    assert seen(sample)["nic/bond0 members_up"] == 2
    assert {reading.part.spares for reading in sample.readings if reading.part.name == "eno1"} == {"bond0"}
    assert not [key for key in seen(sample) if "tap0" in key], "a guest's card is not hardware"
    put(net / "eno2/bonding_slave/mii_status", "down")
    put(net / "eno2/carrier", 0)
    put(net / "eno2/speed", -1)
    put(net / "eno2/statistics/rx_crc_errors", 12)
    found = seen(probe.look())
    assert (found["nic/bond0 members_up"], found["nic/eno2 carrier"], found["nic/eno2 crc_errors"]) == (
        1,
        0,
        12,
    )
    assert "nic/eno2 speed_mbit" not in found


def test_hwmon(there: FakeRoots) -> None:
    probe, chip = hwmon.Hwmon(there.roots()), there.sysfs / "class/hwmon/hwmon0"
    sample = probe.look()
    found = seen(sample)
    assert found["temperature/coretemp Package id 0 share_of_max"] == pytest.approx(0.7625)
    assert found["fan/nct6798 fan1 rpm"] == 5400
    assert found["power/dps650ab hwmon2 alarm"] == 0
    assert {r.part.spares for r in sample.readings if r.part.kind is Kind.POWER} == {"power"}
    put(there.sysfs / "class/hwmon/hwmon3/in1_lcrit_alarm", 1)
    assert seen(probe.look())["power/dps650ab hwmon3 alarm"] == 1
    put(chip / "temp1_input", 255_000)
    sample = probe.look()
    assert "which cannot be" in sample.blind[0].why
    assert "temperature/coretemp Package id 0 share_of_max" not in seen(sample)
    put(chip / "temp1_input", 61_000)
    put(chip / "temp1_max", 0)
    assert "temperature/coretemp Package id 0 share_of_max" not in seen(probe.look()), "no limit is no limit"


def test_kmsg(there: FakeRoots) -> None:
    probe = kmsg.Kmsg(there.roots())
    found = {key: value for key, value in seen(probe.look()).items() if value}
    assert found == {
        "kernel/log hung_tasks": 1,
        "kernel/log lockups": 1,
        "kernel/log bugs": 1,
        "disk/sda io_errors": 2,
        "disk/sda medium_errors": 1,
        "disk/nvme0n1 io_errors": 1,
        "memory/CPU_SrcID#0_MC#0_Chan#1_DIMM#0 log_uncorrected": 1,
        "memory/DIMM_A1 log_corrected": 3,
        "memory/pages memory_failures": 1,
        "storage/sda1 file_system_errors": 1,
        "nic/eno1 transmit_timeouts": 1,
    }
    there.log("3,920,5160000000,-;I/O error, dev sda, sector 8 op 0x0:(READ) flags 0x0", "3,921,516000")
    sample = probe.look()
    assert seen(sample)["disk/sda io_errors"] == 3
    assert "1 lines of it are no records" in sample.blind[0].why
    assert probe.look().blind == ()


def test_a_log_that_begins_anew_is_read_from_its_start_and_counted_on(there: FakeRoots) -> None:
    probe = kmsg.Kmsg(there.roots())
    probe.look()
    there.kmsg.write_text("")
    there.log("3,4,1000,-;I/O error, dev sda, sector 8 op 0x0:(READ) flags 0x0")
    assert seen(probe.look())["disk/sda io_errors"] == 3
    there.kmsg.unlink()
    assert "No such file" in probe.look().blind[0].why
    there.log("3,1,1000,-;I/O error, dev sda, sector 8 op 0x0:(READ) flags 0x0")
    assert seen(probe.look())["disk/sda io_errors"] == 4


def test_the_kernels_own_log_can_be_read() -> None:
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("this machine does not show its kernel's log")
    probe = kmsg.Kmsg(Roots())
    assert probe.look().blind == ()
    assert probe.look().blind == (), "the second look goes on where the first ended"


def test_pressure(there: FakeRoots) -> None:
    found = seen(pressure.Pressure(there.roots()).look())
    assert found == {
        "pressure/memory memory_full": 0.75,
        "pressure/io io_full": 0.75,
        "pressure/cpu cpu_some": 2.25,
    }


def test_the_kernels_clock_and_chronys() -> None:
    assert set(seen(clock.Clock(Roots(chronyc="")).look())) == {
        "clock/system offset_s",
        "clock/system unsynchronised",
    }
    look = Look("clock")
    answer = (
        "C0A80001,ntp1,3,1795379288.1,-0.000123,0.000002,0.00003,12.1,0.001,0.02,0.01,0.001,64.2,Normal\n"
    )
    clock.tracking(look, "chronyc", answer)
    assert seen(look.sample()) == {"clock/system offset_s": 0.000123, "clock/system unsynchronised": 0}
    with pytest.raises(Unseen, match="does chronyd run"):
        clock.tracking(look, "chronyc", "506 Cannot talk to daemon\n")


def test_chronyc_is_asked_where_it_is(there: FakeRoots) -> None:
    script = put(
        there.top / "chronyc", "#!/bin/sh\necho 7F7F0101,,10,0,0.2,0,0,0,0,0,0,0,0,'Not synchronised'"
    )
    script.chmod(0o755)
    found = seen(clock.Clock(there.roots()).look())
    assert found == {"clock/system offset_s": 0.2, "clock/system unsynchronised": 1}


def test_a_thread_is_stuck_only_if_it_was_not_run_since(there: FakeRoots) -> None:
    probe = qemu.Qemu(there.roots())
    there.thread("1203", "D", 5)
    told = [seen(probe.look())["guest/web1 stalled"]]
    there.thread("1203", "D", 6)
    told.append(seen(probe.look())["guest/web1 stalled"])
    told.append(seen(probe.look())["guest/web1 stalled"])
    there.thread("1203", "S", 7)
    told.append(seen(probe.look())["guest/web1 stalled"])
    assert told == [0, 0, 1, 0]


def test_a_path_that_hangs_is_waited_for_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The durable write to one folder does not come back, as on a dead NFS server."""
    good, bad, waits = tmp_path / "good", tmp_path / "bad", threading.Event()
    good.mkdir()
    bad.mkdir()
    real = os.fsync

    def sync(fd: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(bad):
            waits.wait(30)
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(storage, "PATIENCE_S", 0.05)
    probe = storage.Storage((bad, good))
    first, second = seen(probe.look()), seen(probe.look())
    waits.set()
    assert first[f"storage/{bad} latency_s"] >= 0.05
    assert second[f"storage/{bad} latency_s"] > first[f"storage/{bad} latency_s"]
    assert f"storage/{good} free_share" in second
    assert f"storage/{bad} free_share" not in second
    assert not list(good.iterdir())


def test_the_loop_tells_its_worst_and_begins_anew() -> None:
    probe = own.Loop()
    probe.late(0.2)
    probe.late(0.1)
    assert [seen(probe.look())["agent/loop loop_lag_s"] for _ in range(2)] == [0.2, 0]


@pytest.mark.parametrize(
    ("name", "disk"),
    [
        ("sda1", "sda"),
        ("sda", "sda"),
        ("nvme0n1p2", "nvme0n1"),
        ("nvme0n1", "nvme0n1"),
        ("vdb3", "vdb"),
        ("dm-0", "dm-0"),
    ],
)
def test_the_disk_of_a_partition(name: str, disk: str) -> None:
    assert whole_disk(name) == disk
