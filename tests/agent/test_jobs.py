"""Commands outlive the agent and run once; a host with guests does not reboot; what is not known is said to be so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segue.adapters.maintenance import child, commands, inventory
from segue.adapters.store.journal import Journal
from segue.agent.config import Config, Tls
from segue.agent.jobs import Jobs
from segue.agent.maintenance_config import MaintenanceConfig
from segue.errors import Refused
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.job import Job, JobState, JobWish
from segue.wire.frames import Shown

NOWHERE = Path("/nowhere")


class Here:
    """The guests of a host."""

    def __init__(self) -> None:
        self.guests: list[Shown] = []
        self.on_the_way = False
        self.closed = ""

    def shown(self) -> list[Shown]:
        return self.guests

    def moving(self) -> bool:
        return self.on_the_way

    def close(self, why: str) -> None:
        self.closed = why

    def facts(self) -> HostFacts:
        return HostFacts(
            "h1", "i", "0", 2, "10.0.2", "tcg", ("pc-q35-10.0",), {"Nehalem": ()}, 8 << 30, 4 << 30, 8, (), (),
            "6.12",
        )  # fmt: skip


class Rig:
    def __init__(self, path: Path) -> None:
        self.path, self.here = path, Here()
        self.reboots = path / "rebooted"

    def jobs(self, boot: str = "boot1", *, allowed: bool = True, reboot: tuple[str, ...] = ()) -> Jobs:
        """As an agent that has just started."""
        maintenance = MaintenanceConfig(allowed, reboot or ("touch", str(self.reboots)))
        config = Config(
            "h1", "::1", Tls(NOWHERE, NOWHERE, NOWHERE), state_dir=self.path, maintenance=maintenance
        )
        return Jobs(config, Journal(self.path / "journal.db", boot).jobs, boot, self.here)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def until(met: Callable[[], object], limit_s: float = 20.0) -> None:
    """Waits for what a process of its own does."""
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(jobs: Jobs, number: str) -> Job:
    until(lambda: jobs.look(number).ended)
    return jobs.look(number)


@pytest.mark.parametrize(
    ("script", "state", "code"),
    [
        ("echo hello; echo oops >&2", JobState.DONE, 0),
        ("false; echo not reached", JobState.FAILED, 1),
        ("exit 70", JobState.NOTHING, 70),
        ("kill -9 $$", JobState.FAILED, -9),
    ],
)
def test_what_became_of_a_command(rig: Rig, script: str, state: JobState, code: int) -> None:
    jobs = rig.jobs()
    jobs.begin("a-1", JobWish(script))
    job = ended(jobs, "a-1")
    assert (job.state, job.code) == (state, code)
    assert job.head == ("hello\noops\n" if state is JobState.DONE else "")


def test_the_same_number_never_runs_twice_and_another_wish_is_refused(rig: Rig) -> None:
    jobs = rig.jobs()
    wish = JobWish(f"echo x >>{rig.path}/count")
    jobs.begin("a", wish)
    ended(jobs, "a")
    assert rig.jobs().begin("a", wish).state is JobState.DONE
    assert (rig.path / "count").read_text() == "x\n"
    with pytest.raises(Refused, match="used for another one"):
        jobs.begin("a", JobWish("true"))


def test_only_the_beginning_and_the_end_of_a_flood_is_kept(rig: Rig) -> None:
    jobs = rig.jobs()
    jobs.begin("flood", JobWish("echo first; head -c 8000000 /dev/zero | tr '\\0' x; echo last"))
    job = ended(jobs, "flood")
    assert job.head.startswith("first\n")
    assert job.tail.endswith("last\n")
    assert job.output_bytes == 8_000_000 + len("first\nlast\n")
    assert max(len(job.head), len(job.tail)) <= 32 << 10


def test_one_that_notes_its_beginning_in_this_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def first(path: Path, *how: Any, **more: Any) -> str:
        try:
            return read(path, *how, **more)
        finally:
            if path.suffix == ".pid":
                path.write_text(f"{os.getpid()} {child.birth()}")

    monkeypatch.setattr(Path, "read_text", first)
    assert commands.lives(tmp_path, "a") is None
    assert commands.lives(tmp_path, "a") is True


def test_a_command_that_is_late_is_ended_with_all_that_it_started(rig: Rig) -> None:
    jobs = rig.jobs()
    jobs.begin("late", JobWish(f"sleep 300 & echo $! >{rig.path}/pid; wait", within_s=0.5))
    job = ended(jobs, "late")
    assert (job.state, job.why) == (JobState.LATE, "it did not end within 0.5 s")
    pid = (rig.path / "pid").read_text().strip()
    until(lambda: not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text())


def test_what_a_command_leaves_running_does_not_hold_it_up(rig: Rig) -> None:
    jobs, begun_s = rig.jobs(), time.monotonic()
    jobs.begin("daemon", JobWish(f"setsid sleep 300 & echo $! >{rig.path}/pid; echo begun"))
    job = ended(jobs, "daemon")
    pid = int((rig.path / "pid").read_text())
    try:
        assert (job.state, job.head) == (JobState.DONE, "begun\n")
        assert time.monotonic() - begun_s < 15
        assert Path(f"/proc/{pid}").exists()
    finally:
        subprocess.run(["kill", "-9", str(pid)], check=True)


def test_a_command_ends_on_request(rig: Rig) -> None:
    jobs = rig.jobs()
    jobs.begin("long", JobWish("sleep 300"))
    until(lambda: commands.lives(rig.path / "jobs", "long"))
    jobs.end("long")
    assert ended(jobs, "long").why == "it was ended on request"


def test_an_agent_that_is_restarted_finds_the_command_and_its_end(rig: Rig) -> None:
    """The first agent is a process of its own, and is killed while the command runs."""
    first = f"""
from pathlib import Path
from typing import Any
from tests.agent.test_jobs import Rig
from segue.model.job import JobWish
import time
Rig(Path({str(rig.path)!r})).jobs().begin("up", JobWish("sleep 1.5; echo survived"))
time.sleep(100)
"""
    agent = subprocess.Popen([sys.executable, "-c", first], cwd=Path(__file__).parent.parent.parent)
    until(lambda: commands.lives(rig.path / "jobs", "up"))
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    again = rig.jobs()
    assert again.look("up").state is JobState.RUNNING
    assert ended(again, "up").head == "survived\n"


def test_a_command_whose_end_nobody_saw_is_lost_and_not_begun_again(rig: Rig) -> None:
    jobs = rig.jobs()
    wish = JobWish("sleep 300")
    jobs.begin("gone", wish)
    folder = rig.path / "jobs"
    until(lambda: commands.lives(folder, "gone"))
    pid = int((folder / "gone.pid").read_text().split()[0])
    shell = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    subprocess.run(["kill", "-9", str(pid), *shell], check=True)
    until(lambda: commands.lives(folder, "gone") is False)
    assert jobs.begin("gone", wish).state is JobState.LOST
    assert "not known how far" in jobs.look("gone").why
    assert not list(folder.glob("*.result.json"))


def test_after_a_power_loss_a_command_that_ran_is_lost(rig: Rig) -> None:
    jobs = rig.jobs()
    jobs.begin("cut", JobWish("sleep 300"))
    until(lambda: commands.lives(rig.path / "jobs", "cut"))
    after = rig.jobs("boot2").look("cut")
    assert (after.state, after.why) == (
        JobState.LOST, "the host was rebooted while it ran: it is not known how far it came",
    )  # fmt: skip
    commands.end(rig.path / "jobs", "cut")


def test_nothing_runs_where_agent_toml_does_not_allow_it(rig: Rig) -> None:
    jobs = rig.jobs(allowed=False)
    with pytest.raises(Refused, match="lets no controller run commands"):
        jobs.begin("a", JobWish("true"))
    with pytest.raises(Refused, match="lets no controller"):
        jobs.reboot("r")
    assert not (rig.path / "jobs").exists()


@pytest.mark.parametrize(
    "odd", [("../a", "true", 1.0), ("a", " ", 1.0), ("a", "true", 0.0), ("a", "true", 1e9), ("", "true", 1.0)]
)
def test_odd_commands_are_refused(rig: Rig, odd: tuple[str, str, float]) -> None:
    number, script, within_s = odd
    with pytest.raises(Refused, match="makes no sense"):
        rig.jobs().begin(number, JobWish(script, within_s))


async def test_a_host_reboots_once_and_only_without_guests(rig: Rig) -> None:
    jobs = rig.jobs()
    guest = Shown("g1", "h1", "running", "owner", 1, Guest("g1", "u", 1 << 20))
    rig.here.guests = [guest]
    with pytest.raises(Refused, match="guests are here: g1"):
        jobs.reboot("r1")
    rig.here.guests, rig.here.on_the_way = [replace(guest, state="stopped")], True
    with pytest.raises(Refused, match="on its way"):
        jobs.reboot("r1")
    rig.here.on_the_way = False
    assert jobs.reboot("r1").boot == "boot1"
    assert rig.here.closed == "is about to reboot"
    await asyncio.sleep(1.0)
    assert rig.reboots.exists()
    rig.reboots.unlink()
    again = rig.jobs("boot2")
    assert again.reboot("r1").boot == "boot1"  # by which the controller sees that it is over
    await asyncio.sleep(1.0)
    assert not rig.reboots.exists()


async def test_an_agent_that_is_restarted_before_the_reboot_takes_it_up(rig: Rig) -> None:
    asked = rig.jobs(reboot=("sleep", "60")).reboot("r1")
    await asyncio.sleep(0)  # That agent ends here, before anything went down.
    again = rig.jobs()
    rig.here.closed, rig.here.on_the_way = "", True
    with pytest.raises(Refused, match="on its way"):
        again.reboot("r1")
    rig.here.on_the_way = False
    assert again.reboot("r1") == asked
    assert rig.here.closed == "is about to reboot"
    await asyncio.sleep(1.0)
    assert rig.reboots.exists()
    rig.reboots.unlink()
    assert again.reboot("r1") == asked
    await asyncio.sleep(1.0)
    assert not rig.reboots.exists(), "the same agent asks its machine once"


async def test_a_guest_that_is_there_all_the_same_is_not_taken_down(rig: Rig) -> None:
    jobs = rig.jobs()
    jobs.reboot("r1")
    rig.here.guests = [Shown("g1", "h1", "running", "owner", 1, Guest("g1", "u", 1 << 20))]
    await asyncio.sleep(1.0)
    assert not rig.reboots.exists()
    assert jobs.rebooted("r1").why == "guests are here: g1"
    assert rig.here.closed == ""


async def test_a_host_that_loses_its_power_lets_nobody_in_for_so_long(rig: Rig) -> None:
    jobs = rig.jobs(allowed=False)
    rig.here.guests = [Shown("g1", "h1", "running", "owner", 1, Guest("g1", "u", 1 << 20))]
    with pytest.raises(Refused, match="guests are here: g1"):
        jobs.close(60.0)
    assert rig.here.closed == ""
    rig.here.guests = [replace(rig.here.guests[0], state="crashed")]
    jobs.close(60.0)
    assert rig.here.closed == "is about to lose its power"
    jobs.open()
    assert rig.here.closed == ""
    jobs.close(0.05)
    jobs.close(0.1)
    await asyncio.sleep(0.07)
    assert rig.here.closed
    await asyncio.sleep(0.07)
    assert rig.here.closed == "", "its power was not taken"
    with pytest.raises(Refused, match="makes no sense"):
        jobs.close(float("nan"))


async def test_a_reboot_keeps_a_host_closed(rig: Rig) -> None:
    jobs = rig.jobs(reboot=("sleep", "5"))
    jobs.close(60.0)
    jobs.reboot("r1")
    jobs.open()
    assert rig.here.closed == "is about to reboot"


async def test_a_reboot_that_is_refused_says_why(rig: Rig) -> None:
    jobs = rig.jobs(reboot=("sh", "-c", "echo no permission; exit 4"))
    jobs.reboot("r1")
    await asyncio.sleep(1.0)
    assert jobs.rebooted("r1").why == "sh ended with 4: no permission"


def test_the_inventory_of_this_machine_and_of_files(rig: Rig, tmp_path: Path) -> None:
    here = rig.jobs().inventory()
    assert here.cpu_flags
    assert here.commands
    root = tmp_path / "root"
    for name, text in {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Xeon\nmicrocode\t: 0x2b\nflags\t\t: avx aes\n\nprocessor\t: 1\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "etc/debian_version": "13.2\n",
        "sys/class/dmi/id/bios_vendor": "ACME\n",
        "sys/class/dmi/id/bios_version": "1.7\n",
        "run/reboot-required": "*** System restart required ***\n",
        "run/reboot-required.pkgs": "linux-image-amd64\nlibc6\nlibc6\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = inventory.read(root)
    assert (found.cpu, found.microcode, found.cpu_flags) == ("Xeon", "0x2b", ("aes", "avx"))
    assert (found.os, found.firmware) == ("Debian GNU/Linux 13 (trixie) (13.2)", "ACME 1.7")
    assert found.reboot_wanted == "after libc6, linux-image-amd64"
    (root / "run/reboot-required").unlink()
    assert inventory.read(root).reboot_wanted == ""
