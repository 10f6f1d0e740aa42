"""`segue app exec -it`: somebody sits at a terminal, and a program in the container has it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab import places
from segue.lab.api import Lab
from tests.lab import typed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
LIMIT_S: Final = 30.0


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    made = Lab(f"t{os.getpid()}")
    made.up(hosts=1, images=("app-python",))
    made.wait_for_agents(("host1",), 60.0)
    archive = str(places.cache() / "images" / "app-python" / "image.tar")
    options = ("--name", "py1", "--host", "host1", "--address", "10.77.100.9/16", "-e", "COLOUR=green")
    typed.segue(made, "app", "run", *options, "--archive", archive, timeout_s=120.0)
    yield made
    made.down()


class Seat:
    """Somebody at a terminal."""

    def __init__(self, lab: Lab, *words: str) -> None:
        self.master, slave = os.openpty()
        termios.tcsetwinsize(self.master, (33, 101))
        environ = {**os.environ, "SEGUE_CONTEXT": str(lab.places.context), "TERM": "vt220"}
        argv = [sys.executable, "-m", "segue", "app", "exec", *words]
        self.process = subprocess.Popen(
            argv, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> None:
        """What is shown, as far as there."""
        end_s = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert select.select([self.master], [], [], max(0, end_s - time.monotonic()))[0], self.seen
            self.seen += os.read(self.master, 4096).decode()

    def type(self, line: str) -> None:
        self.seen = ""
        os.write(self.master, f"{line}\n".encode())


def test_a_shell_is_sat_at(lab: Lab) -> None:
    seat = Seat(lab, "-it", "py1", "sh")
    seat.until("$ ")
    seat.type("stty size; echo $TERM-$COLOUR")
    seat.until("vt220-green")
    assert "33 101" in seat.seen
    termios.tcsetwinsize(seat.master, (20, 70))
    seat.process.send_signal(signal.SIGWINCH)  # As one is told whose terminal it is.
    seat.type("until stty size | grep '20 70'; do sleep 0.1; done")
    seat.until("20 70\r\n")
    seat.type("echo sleeps; sleep 100")
    seat.until("\nsleeps")
    os.write(seat.master, b"\x03")
    seat.until("$ ")
    seat.type("exit 3")
    assert seat.process.wait(LIMIT_S) == 3
    os.close(seat.master)


@pytest.mark.slow
def test_whoever_leaves_ends_it_and_what_cannot_be_is_said(lab: Lab) -> None:
    seat = Seat(lab, "-it", "py1", "sh")
    seat.until("$ ")
    seat.process.kill()
    seat.process.wait()
    os.close(seat.master)
    procs = Path(f"/proc/{lab.host_pids('host1')[0]}/root/sys/fs/cgroup/segue-apps/py1/cgroup.procs")
    end_s = time.monotonic() + LIMIT_S
    while len(procs.read_text().split()) > 1:
        assert time.monotonic() < end_s, "the shell is there still"
        time.sleep(0.05)
    seat = Seat(lab, "-t", "py1", "nothing-of-that-name")
    seat.until("not found")
    assert seat.process.wait(LIMIT_S) not in {0, None}
    os.close(seat.master)
    assert "there is no terminal here" in typed.run(lab, "app", "exec", "-t", "py1", "sh").stderr
