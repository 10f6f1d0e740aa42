"""What real hosts show beside that: hundreds of processors, records of years, boards with alarms that nobody set."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from segue.adapters.health import cpu, hwmon, kmsg, qemu, rasdaemon, smart, storage
from segue.adapters.health.source import Look, Unseen
from segue.model.health import History, Kind, Part, Sample
from segue.policy import health_series
from tests.adapters.health import hosts
from tests.adapters.health.hosts import FakeRoots, put
from tests.adapters.health.test_probes import seen


@pytest.fixture
def there(tmp_path: Path) -> FakeRoots:
    return FakeRoots(tmp_path)


def test_a_guest_whose_process_bears_its_name_is_seen(there: FakeRoots) -> None:
    put(there.proc / "77/comm", "segue-agent")
    (there.proc / "77/cmdline").write_bytes(b"python3\0-m\0segue\0agent\0-name\0guest=no\0")
    probe = qemu.Qemu(there.roots())
    assert seen(probe.look()) == {"guest/web1 stalled": 0}
    (there.proc / "1201/cmdline").unlink()
    there.thread("1201", "D", 10)
    probe.look()
    assert seen(probe.look()) == {"guest/web1 stalled": 1}, "a stuck one is not asked for its command line"


def test_machine_checks_of_two_hundred_processors(there: FakeRoots) -> None:
    cpus = range(200)
    width = "".join(f"{'CPU' + str(number):>11}" for number in cpus)
    row = "".join(f"{number % 7:>11}" for number in cpus)
    lines = [width, *(f"{irq:4}:{row}  IR-PCI-MSIX    nvme0q{irq}" for irq in range(700))]
    lines.append(
        "MCE:" + "".join(f"{2 if number == 199 else 0:>11}" for number in cpus) + "   Machine checks"
    )
    put(there.proc / "interrupts", "\n".join(lines))
    assert (there.proc / "interrupts").stat().st_size > 1 << 20
    put(there.sysfs / "devices/system/cpu/online", "0-199")
    put(there.sysfs / "devices/system/cpu/cpu199/topology/physical_package_id", 1)
    found = seen(cpu.Cpu(there.roots()).look())
    assert (found["cpu/package 1 machine_checks"], found["cpu/all cores_online"]) == (2, 200)


def test_a_record_of_years_is_no_rise(there: FakeRoots) -> None:
    with sqlite3.connect(there.database) as database:
        database.executemany(
            "insert into mc_event (err_count, err_type, label) values (?, ?, ?)",
            [(1, "Corrected", "DIMM_A1")] * 45_000,
        )
    probe = rasdaemon.Rasdaemon(there.roots())
    first = seen(probe.look())
    assert first["memory/DIMM_A1 recorded_corrected"] == 45_003
    assert seen(probe.look()) == first, "nothing happened between the two looks"
    there.errors("DIMM_A1", 2)
    assert seen(probe.look())["memory/DIMM_A1 recorded_corrected"] == 45_005


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_record_is_cannot_see(there: FakeRoots, share: float) -> None:
    with sqlite3.connect(there.database) as database:
        rows = [(1, "Corrected", f"DIMM_{number}") for number in range(9_000)]
        database.executemany("insert into mc_event (err_count, err_type, label) values (?, ?, ?)", rows)
    whole = there.database.read_bytes()
    there.database.write_bytes(whole[: int(len(whole) * share)])
    sample = rasdaemon.Rasdaemon(there.roots()).look()
    assert sample.blind
    there.database.write_bytes(b"")
    assert "none of rasdaemon's tables" in rasdaemon.Rasdaemon(there.roots()).look().blind[0].why


def test_alarms_that_nobody_set_condemn_no_host(there: FakeRoots) -> None:
    """As an nct6799 shows them: both limits of most inputs are 0, and the case was opened once."""
    board = there.sysfs / "class/hwmon/hwmon1"
    for index, (volts, least, most) in enumerate(((1840, 0, 0), (3424, 0, 0), (1000, 900, 1100))):
        for key, value in (("input", volts), ("min", least), ("max", most), ("alarm", int(most == 0))):
            put(board / f"in{index}_{key}", value)
    put(board / "intrusion0_alarm", 1)
    for key in ("input", "min"):
        put(board / f"fan2_{key}", 0)
    put(board / "fan2_alarm", 1)
    found = seen(hwmon.Hwmon(there.roots()).look())
    assert found["power/nct6798 warning"] == 0
    assert found["fan/nct6798 fan2 alarm"] == 0
    assert "power/nct6798 alarm" not in found
    put(board / "in2_alarm", 1)
    assert seen(hwmon.Hwmon(there.roots()).look())["power/nct6798 warning"] == 1
    put(there.sysfs / "class/hwmon/hwmon2/in1_lcrit_alarm", 1)
    assert seen(hwmon.Hwmon(there.roots()).look())["power/dps650ab hwmon2 alarm"] == 1


def test_frost_is_no_fault_of_a_sensor(there: FakeRoots) -> None:
    put(there.sysfs / "class/hwmon/hwmon0/temp1_input", -7_500)
    sample = hwmon.Hwmon(there.roots()).look()
    assert seen(sample)["temperature/coretemp Package id 0 celsius"] == -7.5
    assert sample.blind == ()


BUG = (
    "1,1001,6000000000,-;BUG: kernel NULL pointer dereference, address: 0000000000000010",
    "1,1002,6000000031,-;#PF: supervisor read access in kernel mode",
    "4,1003,6000000090,-;Oops: Oops: 0000 [#1] SMP NOPTI",
)


def test_one_bug_is_one_however_many_lines_it_has(there: FakeRoots) -> None:
    probe = kmsg.Kmsg(there.roots())
    before = seen(probe.look())["kernel/log bugs"]
    there.log(*BUG)
    assert seen(probe.look())["kernel/log bugs"] == before + 1
    there.log(
        "4,1010,6900000000,-;Oops: general protection fault, probably for non-canonical address: 0000 [#2]"
    )
    assert seen(probe.look())["kernel/log bugs"] == before + 2


def test_a_task_that_waits_for_its_disk_hangs_too(there: FakeRoots) -> None:
    """Linux 7.1 says what it waits for."""
    probe = kmsg.Kmsg(there.roots())
    before = seen(probe.look())["kernel/log hung_tasks"]
    there.log("3,1001,6000000000,-;INFO: task jbd2/sda1-8:312 blocked in I/O wait for more than 122 seconds.")
    assert seen(probe.look())["kernel/log hung_tasks"] == before + 1


ECC = (
    "4,1001,6000000000,-;EDAC MC1: 26 CE memory read error on CPU 1 DIMM B2 (channel:1 slot:1 page:0x2 offset:0x0)",
    "4,1002,6000000001,-;EDAC MC0: 1 UE memory scrubbing error on any memory (page:0x0 offset:0x0 grain:32)",
    "4,1003,6000000002,-;{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0",
    "4,1004,6000000003,-;{1}[Hardware Error]:  Error 0, type: corrected",
    "4,1005,6000000004,-;{1}[Hardware Error]:   section_type: memory error",
    "4,1006,6000000005,-;{1}[Hardware Error]:   error_type: 2, single-bit ECC",
    "4,1007,6000000006,-;{2}[Hardware Error]:   error_type: 3, multi-bit ECC",
)


def test_memory_errors_of_the_log_also_where_the_firmware_reports_them(there: FakeRoots) -> None:
    probe = kmsg.Kmsg(there.roots())
    probe.look()
    there.log(*ECC)
    probe.look()
    found = seen(probe.look())
    assert found["memory/CPU 1 DIMM B2 log_corrected"] == 26
    assert found["memory/unknown log_uncorrected"] == 1
    assert found["memory/firmware log_corrected"] == 1
    assert found["memory/firmware log_uncorrected"] == 1


def test_a_disk_that_smartctl_learns_nothing_of_is_cannot_see(there: FakeRoots) -> None:
    """A disk behind a RAID controller: it opens, and no command gets through to it."""
    message = {"string": "A mandatory SMART command failed: exiting.", "severity": "error"}
    said = {"smartctl": {"version": [7, 4], "exit_status": 4, "messages": [message]}}
    there.answer("sda", said)
    assert "mandatory SMART command" in smart.Smart(there.roots()).look().blind[0].why
    asleep = {"string": "Device is in STANDBY mode, exit(0)", "severity": "information"}
    there.answer("sda", {"smartctl": {"version": [7, 4], "exit_status": 0, "messages": [asleep]}})
    assert smart.Smart(there.roots()).look().blind == ()
    there.answer("sda", {**hosts.ATA, "smartctl": {"version": [7, 4], "exit_status": 4 | 8 | 16 | 64 | 128}})
    assert seen(smart.Smart(there.roots()).look())["disk/sda reallocated"] == 8


def test_another_disk_of_the_same_name_begins_its_own_series() -> None:
    """The kernel numbered them the other way round after the boot."""
    sda, keep = Part(Kind.DISK, "sda"), {"reallocated": 86_400.0}

    def look(history: History, at_s: float, boot: str, sectors: int, serial: str) -> History:
        said = {**hosts.ATA, "serial_number": serial}
        said["ata_smart_attributes"] = {"table": [{"id": 5, "raw": {"value": sectors}}]}
        one = Look("smart")
        import json

        smart.read(one, sda, "/dev/sda", json.dumps(said))
        return health_series.add(history, one.sample(), at_s, boot, keep)

    history = look(History(), 0, "a", 0, "WD-1")
    history = look(history, 1_800, "a", 3, "WD-1")
    assert history.series["disk/sda reallocated"].points[-1].risen == 3
    history = look(history, 3_600, "b", 500, "WD-2")
    assert health_series.risen(history.series["disk/sda reallocated"], 86_400, 3_600) == 0
    history = look(history, 5_400, "b", 501, "WD-2")
    assert health_series.risen(history.series["disk/sda reallocated"], 86_400, 5_400) == 1


@pytest.mark.parametrize(("number", "value"), [(errno.EROFS, 1.0), (errno.EIO, 1.0), (errno.ENOSPC, None)])
def test_a_folder_that_takes_no_writes_is_not_only_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, value: float | None
) -> None:
    probe = storage.Storage((tmp_path,))
    assert seen(probe.look())[f"storage/{tmp_path} unwritable"] == 0

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    sample: Sample = probe.look()
    assert seen(sample).get(f"storage/{tmp_path} unwritable") == value
    assert bool(sample.blind) == (value is None)


def test_a_program_that_says_nothing_is_named() -> None:
    with pytest.raises(Unseen, match="smartctl ended with 2"):
        smart.read(Look("smart"), Part(Kind.DISK, "sda"), "/dev/sda", '{"smartctl": {"exit_status": 2}}')


def test_an_error_on_a_path_of_an_nvme_disk_is_that_disks(there: FakeRoots) -> None:
    probe = kmsg.Kmsg(there.roots())
    before = seen(probe.look())["disk/nvme0n1 io_errors"]
    there.log("3,1001,6000000000,-;I/O error, dev nvme0c1n1, sector 8 op 0x0:(READ) flags 0x4000 phys_seg 1")
    found = seen(probe.look())
    assert found["disk/nvme0n1 io_errors"] == before + 1
    assert "disk/nvme0c1n1 io_errors" not in found
