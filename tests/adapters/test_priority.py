"""How soon the kernel gives a process a processor, seen in a process with threads and a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.adapters import priority

THREADS = (
    "import threading; threading.Thread(target=input).start(); print(flush=True); threading.Event().wait()"
)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


def test_every_thread_and_the_session_get_it(process: subprocess.Popen[bytes]) -> None:
    priority.give(process.pid, 7)
    threads = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
    assert len(threads) == 2
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {7}
    session = Path(f"/proc/{process.pid}/autogroup")
    if session.exists() and session.read_text():
        assert session.read_text().split()[-1] == "7"


def test_a_process_that_has_ended_is_no_error() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    priority.give(ended.pid, 5)
    assert priority.of(ended.pid) == priority.NORMAL
