"""An agent's samples of real processes: what they use is seen, and who is gone is forgotten."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.agent.config import Config, Tls
from segue.agent.loads import Loads
from segue.model.guest import Disk, Guest

BURN = (
    "import ctypes\nctypes.CDLL(None).prctl(15, b'CPU 0/KVM', 0, 0, 0)\nprint(flush=True)\nwhile True: pass\n"
)


class Here:
    """Guests whose QEMU is any process."""

    def __init__(self) -> None:
        self.guests: list[tuple[Guest, int]] = []

    def running(self) -> list[tuple[Guest, int]]:
        return self.guests


@pytest.fixture
def burner() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def loads(here: Here, folder: Path, bandwidth: int = 0) -> Loads:
    for name in ("disks", "shared"):
        (folder / name).mkdir()
    none = folder / "none"
    return Loads(
        Config(
            name="host1",
            address="127.0.0.1",
            tls=Tls(none, none, none),
            disks_dir=folder / "disks",
            shared_dir=folder / "shared",
            migration_bandwidth_bytes_per_s=bandwidth,
        ),
        here,
    )


async def test_a_guest_that_burns_is_seen_and_one_that_is_gone_is_forgotten(
    burner: int, tmp_path: Path
) -> None:
    here = Here()
    own, common = tmp_path / "disks/g1.raw", tmp_path / "shared/g1.qcow2"
    disks = (Disk("disk0", str(own)), Disk("disk1", str(common)))
    here.guests = [(Guest("g1", "u1", 1 << 30, disks=disks), burner)]
    measured = loads(here, tmp_path, bandwidth=10_000_000)
    assert measured.report() is None, "nothing is told before all was looked at"
    own.write_bytes(b"x" * 8192)
    await measured.look_at_folders()
    await measured.sample()
    begun_s = time.process_time()
    while time.process_time() < begun_s + 0.3:  # The burner has as long as we burn ourselves.
        pass
    await measured.sample()
    report = measured.report()
    assert report is not None
    (guest,) = report.guests
    wanted = guest.use.now.cpu_cores + guest.use.now.waiting_cores
    assert 0.5 < wanted < 2.0, "one thread wants one processor, whether it gets it or not"
    assert report.use.now.cpu_cores > 0.5
    assert guest.local_bytes == 8192
    assert guest.storages == report.storages == (str(tmp_path / "shared"),)
    assert report.local_free_bytes > 0
    assert report.link_bytes_per_s == 10_000_000, "loopback has no speed: the operator's word counts"
    here.guests = []
    await measured.sample()
    report = measured.report()
    assert report is not None
    assert report.guests == ()


async def test_a_process_that_ended_between_two_looks_costs_nobody_else_a_sample(
    burner: int, tmp_path: Path
) -> None:
    here = Here()
    here.guests = [(Guest("gone", "u0", 1 << 30), 2**22 - 1), (Guest("g1", "u1", 1 << 30), burner)]
    measured = loads(here, tmp_path)
    await measured.look_at_folders()
    for _ in range(2):
        await measured.sample()
    report = measured.report()
    assert report is not None
    assert {guest.name: guest.use.span_s > 0 for guest in report.guests} == {"gone": False, "g1": True}
