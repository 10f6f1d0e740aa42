"""`down` leaves nothing behind: not after a normal life, not with QEMUs inside, not after a crash in `up`."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from segue.errors import Refused
from segue.lab.api import Lab
from tests.lab.conftest import interfaces, traces, wait_until

pytestmark = pytest.mark.lab

# Kills itself with SIGKILL when `up` comes to the given point, as the machine's memory killer would.
CRASH = """
import os, signal, sys
from segue.lab import bringup, machine
from segue.lab.api import Lab
name, point, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
left = [nth]
def crash(here):
    if here == point:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
def before(module, function):
    real = getattr(module, function)
    def wrapped(*arguments, **named):
        crash(function)
        return real(*arguments, **named)
    setattr(module, function, wrapped)
before(bringup, "wire")
before(machine.Boot, "wait_ready")
before(machine.Boot, "go")
Lab(name, on_progress=crash).up(hosts=2, clients=1, images=())
"""


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("starting fabric", 1),
        pytest.param("starting client1", 1, marks=pytest.mark.slow),
        pytest.param("wait_ready", 2, marks=pytest.mark.slow),
        pytest.param("wire", 1, marks=pytest.mark.slow),
        ("wire", 3),
        pytest.param("go", 1, marks=pytest.mark.slow),
        ("go", 3),
    ],
)
def test_a_crash_in_the_middle_of_up_leaves_nothing_after_down(no_lab: Lab, point: str, nth: int) -> None:
    before = interfaces()
    crash = [sys.executable, "-c", CRASH, no_lab.places.name, point, str(nth)]
    assert subprocess.run(crash, check=False, timeout=60).returncode == -signal.SIGKILL
    assert no_lab.down()
    assert traces(no_lab) == []
    assert interfaces() == before


def test_up_completes_what_a_crash_left(no_lab: Lab) -> None:
    crash = [sys.executable, "-c", CRASH, no_lab.places.name, "go", "3"]
    assert subprocess.run(crash, check=False, timeout=60).returncode == -signal.SIGKILL
    no_lab.up(hosts=2, clients=1, images=())
    for target in ("host1", "host2"):
        no_lab.exec("client1", ["ping", "-c1", "-W5", target], check=True)


def test_down_takes_qemus_sessions_and_foreign_visitors_along(no_lab: Lab) -> None:
    no_lab.up(hosts=1, clients=0, images=())
    pid = no_lab.host_pids("host1")[0]
    qemu = "qemu-system-x86_64 -S -nodefaults -display none -m 64 -daemonize -pidfile /run/q"
    no_lab.exec("host1", ["setsid", *qemu.split()], check=True)
    session = no_lab.popen("host1", ["cat"], stdin=-1)
    visitor = subprocess.Popen(["nsenter", "-t", str(pid), "-n", "sleep", "1000"])
    wait_until(lambda: "qemu" in no_lab.exec("host1", ["ps", "axo", "comm"]).stdout, "QEMU runs")
    assert no_lab.down()
    assert session.wait(10) == -signal.SIGKILL
    assert visitor.wait(10) == -signal.SIGKILL
    assert traces(no_lab) == []
    assert not no_lab.down()


def test_down_refuses_to_delete_through_a_foreign_mount(no_lab: Lab) -> None:
    no_lab.up(hosts=1, clients=0, images=())
    folder = no_lab.places.shared / "mine"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    (folder / "file").write_text("kept")
    try:
        with pytest.raises(Refused, match="something is mounted"):
            no_lab.down()
        assert (folder / "file").read_text() == "kept"
    finally:
        subprocess.run(["umount", folder], check=True)
    assert no_lab.down()
    assert traces(no_lab) == []


def test_a_root_that_cannot_be_mounted_is_refused_and_leaves_no_process(no_lab: Lab) -> None:
    no_lab.places.top.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", no_lab.places.top], check=True)
    try:
        for name in ("lower", "upper", "work", "labs"):
            (no_lab.places.top / name).mkdir()
        top = no_lab.places.top
        options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "none", top / "labs"], check=True)
        script = f"import os; os.environ['SEGUE_LAB_DIR'] = '{top}/labs'\n" + UP_ON_OVERLAY
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "refused the overlay" in done.stdout, done.stderr
        subprocess.run(["umount", top / "labs"], check=True)
    finally:
        subprocess.run(["umount", "-l", no_lab.places.top], check=True)
    assert no_lab.down()
    assert traces(no_lab) == []


UP_ON_OVERLAY = """
from segue.errors import Refused
from segue.lab.api import Lab
lab = Lab("over")
try:
    lab.up(hosts=1, clients=0, images=())
except Refused as refused:
    print(refused, refused.todo)
lab.down()
"""


def test_a_program_is_signalled_and_ends_as_it_would_without_the_lab(no_lab: Lab) -> None:
    no_lab.up(hosts=1, clients=0, images=())
    script = "trap 'exit 42' TERM; echo ready; while :; do read x; done"
    program = no_lab.popen("host1", ["sh", "-c", script], stdout=-1, stdin=-1)
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(10) == 42
    assert no_lab.exec("host1", ["sh", "-c", "kill -USR1 $$"]).returncode == -signal.SIGUSR1
    assert no_lab.exec("host1", ["no-such-program"]).returncode == 127
    assert no_lab.exec("host1", ["wc", "-c"], input="12345").stdout == "5\n"
    assert no_lab.exec("host1", ["sh", "-c", "yes | head -n1"]).stdout == "y\n"


def test_a_program_dies_with_the_one_that_started_it(no_lab: Lab) -> None:
    no_lab.up(hosts=1, clients=0, images=())
    program = no_lab.popen("host1", ["sleep", "1000"])
    wait_until(lambda: "sleep 1000" in no_lab.exec("host1", ["ps", "axo", "cmd"]).stdout, "it runs")
    program.kill()
    program.wait()
    wait_until(lambda: "sleep 1000" not in no_lab.exec("host1", ["ps", "axo", "cmd"]).stdout, "it is gone")
