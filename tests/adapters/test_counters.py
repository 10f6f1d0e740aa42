"""What the kernel counts is read right: files as they were on a host with a guest in TCG, and this very machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from segue.adapters.counters import TICKS_PER_S, Counters, device_of
from segue.model.load import Pressure

GUEST = {
    "stat": "9226 (segue-g2 (a) b) S 9051 9226 9226 0 -1 138412416 45331 0 4 0 290 70 0 0 20 0 4 0 1246328 "
    "1643372544 49953 18446744073709551615 94896827703296 94896834656565 135740149800496 0 0 0 268444224 4096 "
    "16451 0 0 0 17 1 0 0 0 0 0 94896838307720 94896851865808 94896932491264 135740149803912 135740149805281 "
    "135740149805281 135740149805532 0\n",
    "io": "rchar: 697209\nwchar: 385720\nsyscr: 12898\nsyscw: 18025\nread_bytes: 49152\nwrite_bytes: 8192\n"
    "cancelled_write_bytes: 0\n",
    "status": "Name:\tsegue-g2\nRssAnon:\t   25696 kB\nRssFile:\t   26176 kB\nRssShmem:\t  147976 kB\n",
    "task/9226/comm": "segue-g2\n",
    "task/9226/schedstat": "1299004913 2259207947 18020\n",
    "task/9229/comm": "call_rcu\n",
    "task/9229/schedstat": "3036286 41297516 22\n",
    "task/9232/comm": "IO mon_iothread\n",
    "task/9232/schedstat": "10963434 25570819 56\n",
    "task/9233/comm": "CPU 0/TCG\n",
    "task/9233/schedstat": "2307391641 948986658 14118\n",
}
HOST = {
    "stat": "cpu  960406 0 202360 1276630 3560 0 19981 599 0 0\ncpu0 416791 0 97705 704908 1065 0 9221 282 0 0\n",
    "meminfo": "MemTotal:       24684092 kB\nMemFree:        19178340 kB\nMemAvailable:   22203816 kB\n",
    "pressure/cpu": "some avg10=53.26 avg60=70.66 avg300=46.90 total=1864081765\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "pressure/io": "some avg10=0.40 avg60=0.59 avg300=0.50 total=53277480\n",
    "net/dev": "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
    "carrier compressed\n"
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0"
    "          0\n"
    "uplink0: 196706506    5556    0    0    0     0          0         0   558263    3097    0    0    0     0"
    "       0          0\n"
    "tap5400c21d56:  237020    1051    0    0    0     0          0         0   246086    1259    0    0    0"
    "     0       0          0\n",
    "diskstats": "   7       7 loop7 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    " 254       0 vda 473556 47335 21832857 316498 1108030 389829 45476706 227755 0 112092 585603 186069 51 "
    "82355456 13210 338775 28139\n"
    " 254       1 vda1 1 1 21832857 1 1 1 45476706 1 0 1 1 1 1 1 1 1 1\n",
}


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    written(tmp_path / "proc", HOST)
    written(tmp_path / "proc" / "9226", GUEST)
    (tmp_path / "sys/block/vda/device").mkdir(parents=True)
    net = tmp_path / "sys/class/net"
    for port in ("uplink0", "tap5400c21d56", "seg5400c21d56"):
        written(
            net, {f"{port}/uevent": f"INTERFACE={port}\n", f"br0/brif/{port}": "", f"{port}/speed": "10000\n"}
        )
    written(net, {"tap5400c21d56/tun_flags": "0x1002\n", "seg5400c21d56/uevent": "DEVTYPE=vxlan\n"})
    return Counters(tmp_path / "proc", tmp_path / "sys")


def test_a_guest(counters: Counters) -> None:
    meter = counters.guest(9226, counters.traffic(), ["tap5400c21d56"])
    assert meter.cpu_s == (290 + 70) / TICKS_PER_S
    assert meter.waited_s == pytest.approx(0.948986658), "of its vCPU alone, not of other threads"
    assert (meter.sent_bytes, meter.received_bytes) == (237020, 246086)
    assert (meter.read_bytes, meter.written_bytes) == (49152, 8192)
    assert counters.held_bytes(9226) == 147976 << 10


def test_a_host(counters: Counters) -> None:
    uplinks = counters.uplinks("br0")
    assert uplinks == ("uplink0",)
    meter = counters.host(counters.traffic(), uplinks)
    assert meter.cpu_s == (960406 + 202360 + 19981 + 599) / TICKS_PER_S
    assert (meter.received_bytes, meter.sent_bytes) == (196706506, 558263)
    assert (meter.read_bytes, meter.written_bytes) == (21832857 * 512, 45476706 * 512), (
        "partitions do not count"
    )
    assert counters.pressure() == Pressure(0.7066, 0.0, 0.0059)
    assert counters.memory() == (24684092 << 10, 22203816 << 10)
    assert counters.speed_bytes_per_s(uplinks) == 1_250_000_000


def test_a_kernel_without_pressure_and_a_card_without_speed(tmp_path: Path) -> None:
    (tmp_path / "class/net/br1").mkdir(parents=True)
    bare = Counters(tmp_path, tmp_path)
    assert bare.pressure() is None
    assert bare.uplinks("br1") == ("br1",)
    assert bare.speed_bytes_per_s(["br1"]) == 0


def test_a_guest_that_is_gone(counters: Counters) -> None:
    with pytest.raises(OSError, match="9999"):
        counters.guest(9999, {}, ())


def test_this_machine() -> None:
    """A process that burns half a second of processor time in a thread that is named as QEMU's are."""
    burn = (
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b'CPU 0/KVM', 0, 0, 0)\n"
        "while time.process_time() < 0.5: pass\n"
        "print(flush=True); time.sleep(60)\n"
    )
    counters = Counters()
    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        meter = counters.guest(process.pid, counters.traffic(), ["lo"])
        process.kill()
    assert 0.4 <= meter.cpu_s <= 5.0
    assert meter.waited_s >= 0.0
    assert meter.sent_bytes == meter.received_bytes
    assert device_of("127.0.0.1") == "lo"
    assert device_of("192.0.2.77") == ""
    total, available = counters.memory()
    assert 0 < available <= total


@pytest.mark.parametrize("controlled", [True, False])
def test_an_applications_cgroup_counts_all_its_processes(tmp_path: Path, controlled: bool) -> None:
    """Where controllers are missing, the processes that live are added up."""
    group, proc = tmp_path / "group", tmp_path / "proc"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    (group / "cgroup.procs").write_text("11\n12\n13\n")
    for pid in (11, 12):  # 13 has just ended.
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "io").write_text(GUEST["io"])
        (proc / str(pid) / "status").write_text(GUEST["status"])
    if controlled:
        (group / "io.stat").write_text("8:0 rbytes=1000 wbytes=50 rios=1\n8:16 rbytes=10 wbytes=0\n")
        (group / "memory.stat").write_text("anon 4096\nfile 999999\nshmem 8192\n")
        (group / "cpu.pressure").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=750000\n")
    counters = Counters(proc)
    seen = counters.group(group, {"tap1": (300, 40)}, ["tap1"])
    assert (seen.cpu_s, seen.sent_bytes, seen.received_bytes) == (2.5, 300, 40)
    expected = (1010, 50, 0.75) if controlled else (2 * 49152, 2 * 8192, 0.0)
    assert (seen.read_bytes, seen.written_bytes, seen.waited_s) == expected
    held = 12288 if controlled else 2 * (25696 + 147976) << 10
    assert counters.group_held_bytes(group) == held
    with pytest.raises(FileNotFoundError):
        counters.group(tmp_path / "gone", {}, [])
