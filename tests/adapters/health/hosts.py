"""Roots of a host as real ones look: sysfs and proc as kernels write them, answers of real programs, cut short."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from segue.adapters.health.source import Roots

INTERRUPTS = """            CPU0       CPU1
  0:         44          0   IO-APIC    2-edge      timer
NMI:        113         98   Non-maskable interrupts
THR:          0          0   Threshold APIC interrupts
MCE:          {mce}          0   Machine check exceptions
MCP:        287        287   Machine check polls
ERR:          0
"""
DISKSTATS = """ 259       0 nvme0n1 12030 33 9600000 50231 800123 4211 64000000 220122 0 310220 270353 0 0 0 0 9001 1200
   8       0 sda 1000 10 80000 {read_ms} 2000 20 160000 6000 0 7000 9000
   8       1 sda1 990 10 79000 2900 1990 20 159000 5900 0 6900 8800
   7       0 loop0 10 0 80 1 0 0 0 0 0 4 1
"""
PRESSURE = """some avg10=1.50 avg60=2.25 avg300=3.00 total=123456
full avg10=0.50 avg60=0.75 avg300=1.00 total=23456
"""
KMSG = [
    "5,0,0,-;Linux version 6.12.43 (gcc) #1 SMP",
    "6,812,4021551,-;sd 0:0:0:0: [sda] Attached SCSI disk\n SUBSYSTEM=scsi\n DEVICE=+scsi:0:0:0:0",
    "3,901,5120000001,-;INFO: task jbd2/sda1-8:312 blocked for more than 120 seconds.",
    "3,902,5130000001,-;I/O error, dev sda, sector 1229000 op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
    "3,903,5130000009,-;critical medium error, dev sda, sector 1229008 op 0x0:(READ) flags 0x0 phys_seg 1",
    "3,904,5140000001,-;blk_update_request: I/O error, dev sda1, sector 88 op 0x1:(WRITE) flags 0x800",
    "0,905,5150000001,-;watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [qemu-system-x86:1201]",
    "1,906,5150000002,-;BUG: kernel NULL pointer dereference, address: 0000000000000010",
    "2,907,5150000003,-;EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x1)",
    "3,908,5150000004,-;Memory failure: 0x1840200: recovery action for dirty LRU page: Recovered",
    "2,909,5150000005,-;EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: lblock 0",
    "4,910,5150000006,-;nvme nvme0: I/O 128 (Read) QID 3 timeout, aborting req_op:READ(0) size:4096",
    "6,911,5150000007,-;NETDEV WATCHDOG: eno1 (ixgbe): transmit queue 2 timed out 5004 ms",
    "4,913,5150000013,-;EDAC MC0: 3 CE memory read error on DIMM_A1 (channel:0 slot:0 page:0x1 offset:0x0)",
    "11,912,5150000008,-;BUG: a program wrote this to the log, and is not the kernel",
]
ATA: dict[str, Any] = {
    "json_format_version": [1, 0],
    "smartctl": {"version": [7, 3], "exit_status": 64},
    "device": {"name": "/dev/sda", "info_name": "/dev/sda [SAT]", "type": "sat", "protocol": "ATA"},
    "model_name": "WDC WD20EFRX-68EUZN0",
    "smart_status": {"passed": True},
    "ata_smart_attributes": {
        "revision": 16,
        "table": [
            {
                "id": 5,
                "name": "Reallocated_Sector_Ct",
                "value": 200,
                "thresh": 140,
                "raw": {"value": 8, "string": "8"},
            },
            {"id": 187, "name": "Reported_Uncorrect", "value": 98, "raw": {"value": 2, "string": "2"}},
            {
                "id": 188,
                "name": "Command_Timeout",
                "value": 100,
                "raw": {"value": 4295032833, "string": "1 1 1"},
            },
            {"id": 194, "name": "Temperature_Celsius", "value": 117, "raw": {"value": 30, "string": "30"}},
            {"id": 197, "name": "Current_Pending_Sector", "value": 200, "raw": {"value": 3, "string": "3"}},
            {"id": 198, "name": "Offline_Uncorrectable", "value": 200, "raw": {"value": 1, "string": "1"}},
        ],
    },
    "temperature": {"current": 30},
}
NVME: dict[str, Any] = {
    "json_format_version": [1, 0],
    "smartctl": {"version": [7, 0], "exit_status": 0},
    "device": {"name": "/dev/nvme0", "info_name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"},
    "smart_status": {"passed": True, "nvme": {"value": 0}},
    "nvme_smart_health_information_log": {
        "critical_warning": 0,
        "temperature": 35,
        "available_spare": 99,
        "available_spare_threshold": 10,
        "percentage_used": 3,
        "unsafe_shutdowns": 10,
        "media_errors": 7,
        "num_err_log_entries": 62,
    },
    "temperature": {"current": 35},
}
SAS_ROW = {"errors_corrected_by_eccfast": 0, "gigabytes_processed": "111593.179", "total_errors_corrected": 0}
SAS: dict[str, Any] = {
    "json_format_version": [1, 0],
    "smartctl": {"version": [7, 3], "exit_status": 0},
    "device": {"info_name": "/dev/sdb", "name": "/dev/sdb", "protocol": "SCSI", "type": "scsi"},
    "scsi_error_counter_log": {
        "read": {**SAS_ROW, "total_uncorrected_errors": 4},
        "verify": {**SAS_ROW, "total_uncorrected_errors": 0},
        "write": {**SAS_ROW, "total_uncorrected_errors": 1},
    },
    "scsi_grown_defect_list": 12,
    "smart_status": {"passed": False},
    "temperature": {"current": 27, "drive_trip": 85},
}
ABSENT: dict[str, Any] = {
    "json_format_version": [1, 0],
    "smartctl": {
        "version": [7, 5],
        "messages": [{"string": "/dev/sdz: Unable to detect device type", "severity": "error"}],
        "exit_status": 1,
    },
}
MC_EVENT = """create table mc_event (id integer primary key, timestamp text, err_count integer, err_type text,
 err_msg text, label text, mc integer, top_layer integer, middle_layer integer, lower_layer integer, address integer,
 grain integer, syndrome integer, driver_detail text)"""
MCE_RECORD = """create table mce_record (id integer primary key, timestamp text, mcgcap integer, mcgstatus integer,
 status integer, addr integer, misc integer, ip integer, tsc integer, walltime integer, cpu integer, cpuid integer,
 apicid integer, socketid integer, cs integer, bank integer, cpuvendor integer, bank_name text, error_msg text,
 mcgstatus_msg text, mcistatus_msg text, mcastatus_msg text, user_action text, mc_location text)"""
CORRECTED_STATUS, UNCORRECTED_STATUS = 0x8C00004000010090 - (1 << 64), 0xBD80000000100134 - (1 << 64)


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")
    return path


class FakeRoots:
    """A folder that has all roots of a host with two of most things."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.sysfs, self.proc = top / "sys", top / "proc"
        self.kmsg, self.database = top / "kmsg", top / "ras-mc_event.db"
        self._memory()
        self._cpu()
        self._block()
        self._net()
        self._hwmon()
        self._proc()
        self.log(*KMSG)
        self._rasdaemon()
        self.answers = top / "answers"
        self.answer("sda", ATA)
        self.answer("nvme0n1", NVME)
        script = put(top / "smartctl", f'#!/bin/sh\nfor a; do :; done\ncat {self.answers}/"$(basename "$a")"')
        script.chmod(0o755)

    def roots(self) -> Roots:
        return Roots(
            sysfs=self.sysfs,
            proc=self.proc,
            dev=self.top / "dev",
            kmsg=self.kmsg,
            rasdaemon=self.database,
            smartctl=str(self.top / "smartctl"),
            chronyc=str(self.top / "chronyc"),
        )

    def answer(self, disk: str, said: object) -> None:
        put(self.answers / disk, said if isinstance(said, str) else json.dumps(said))

    def log(self, *records: str) -> None:
        with self.kmsg.open("a") as file:
            file.write("".join(f"{record}\n" for record in records))

    def record(self, table: str, **values: object) -> None:
        with sqlite3.connect(self.database) as database:
            marks = ", ".join("?" for _ in values)
            database.execute(
                f"insert into {table} ({', '.join(values)}) values ({marks})", tuple(values.values())
            )

    def errors(self, label: str, count: int, kind: str = "Corrected") -> None:
        at, message = "2026-11-26 12:00:01 +0000", "memory read error"
        self.record(
            "mc_event", timestamp=at, err_count=count, err_type=kind, err_msg=message, label=label, mc=0
        )

    def _memory(self) -> None:
        controller = self.sysfs / "devices/system/edac/mc/mc0"
        put(controller / "mc_name", "Skylake Socket#0 IMC#0")
        put(controller / "ce_noinfo_count", 0)
        put(controller / "ue_noinfo_count", 0)
        for number, (label, corrected) in enumerate((("DIMM_A1", 4), ("DIMM_B1", 0))):
            dimm = controller / f"dimm{number}"
            put(dimm / "dimm_label", label)
            put(dimm / "dimm_location", f"channel {number} slot 0")
            put(dimm / "dimm_ce_count", corrected)
            put(dimm / "dimm_ue_count", 0)

    def _cpu(self) -> None:
        cpus = self.sysfs / "devices/system/cpu"
        put(cpus / "online", "0-1")
        for number in range(2):
            put(cpus / f"cpu{number}/topology/physical_package_id", 0)
            put(cpus / f"cpu{number}/thermal_throttle/core_throttle_count", number)
        put(self.proc / "interrupts", INTERRUPTS.format(mce=1))

    def _block(self) -> None:
        put(self.sysfs / "block/sda/device/ioerr_cnt", "0x1f")
        put(self.sysfs / "block/nvme0n1/device/model", "SAMSUNG")
        put(self.sysfs / "block/loop0/size", 8)
        put(self.sysfs / "block/md0/md/degraded", 1)
        put(self.proc / "diskstats", DISKSTATS.format(read_ms=3000))

    def _net(self) -> None:
        net = self.sysfs / "class/net"
        for name in ("eno1", "eno2"):
            (net / name / "device").mkdir(parents=True)
            put(net / name / "carrier", 1)
            put(net / name / "carrier_changes", 2)
            put(net / name / "speed", 25000)
            put(net / name / "bonding_slave/mii_status", "up")
            for counter in ("rx_packets", "tx_packets"):
                put(net / name / "statistics" / counter, 1_000_000)
            for counter in ("rx_errors", "tx_errors", "rx_crc_errors", "rx_missed_errors", "tx_dropped"):
                put(net / name / "statistics" / counter, 0)
        put(net / "bond0/bonding/slaves", "eno1 eno2")
        put(net / "tap0/carrier", 1)

    def _hwmon(self) -> None:
        hwmon = self.sysfs / "class/hwmon"
        put(hwmon / "hwmon0/name", "coretemp")
        put(hwmon / "hwmon0/temp1_label", "Package id 0")
        for key, value in (("input", 61000), ("max", 80000), ("crit", 100000), ("crit_alarm", 0)):
            put(hwmon / f"hwmon0/temp1_{key}", value)
        put(hwmon / "hwmon1/name", "nct6798")
        put(hwmon / "hwmon1/fan1_input", 5400)
        put(hwmon / "hwmon1/fan1_alarm", 0)
        for number, name in ((2, "dps650ab"), (3, "dps650ab")):
            put(hwmon / f"hwmon{number}/name", name)
            put(hwmon / f"hwmon{number}/in1_lcrit_alarm", 0)
            put(hwmon / f"hwmon{number}/power1_alarm", 0)

    def _proc(self) -> None:
        for resource in ("memory", "io", "cpu"):
            put(self.proc / "pressure" / resource, PRESSURE)
        put(self.proc / "meminfo", "MemTotal:       65806280 kB\nHardwareCorrupted:     8 kB")
        process = self.proc / "1201"
        put(process / "comm", "segue-web1")  # QEMU renames itself: -name process=segue-web1.
        words = ("qemu-system-x86_64", "-name", "guest=web1,process=segue-web1,debug-threads=on", "-S")
        (process / "cmdline").write_bytes("\0".join((*words, "")).encode())
        self.thread("1201", "S", 10)
        put(self.proc / "99/comm", "bash")

    def thread(self, number: str, state: str, switches: int) -> None:
        task = self.proc / "1201/task" / number
        put(task / "stat", f"{number} (CPU 0/KVM) {state} 1 1201 1201 0 -1 4194560 100 0 0")
        put(
            task / "status",
            f"State:\t{state}\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t3",
        )

    def _rasdaemon(self) -> None:
        with sqlite3.connect(self.database) as database:
            database.execute(MC_EVENT)
            database.execute(MCE_RECORD)
        self.errors("DIMM_A1", 3)
        self.errors("DIMM_A1", 1, "Uncorrected")
        self.record("mce_record", cpu=5, status=CORRECTED_STATUS, bank=7, error_msg="Corrected error")
        self.record("mce_record", cpu=5, status=UNCORRECTED_STATUS, bank=7, error_msg="Uncorrected error")
