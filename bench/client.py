"""The client's side: what a client machine of the lab sees of a guest, and the load that the guest is under."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from segue.lab.api import Lab

CLIENT: Final = "client1"
PORTS: Final = {"udp": 7000, "tcp": 7001, "dirty": 7002}
RATE_PER_S: Final = 1000
BEFORE_S: Final = 1.0
"""The guest is watched at rest for this long, so that nothing of the probe's own start is in the sample."""
AFTER_S: Final = 1.0
"""Duplicates and the last late frames come within this time after the resume."""
READY_S: Final = 60.0
FILL_S: Final = 120.0
"""An emulated guest takes a while to fill a gigabyte."""


@dataclass
class Watch:
    """The probes of one move, and their accounts once they are finished."""

    processes: list[subprocess.Popen[str]]
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)


@contextmanager
def watching(lab: Lab, address: str) -> Iterator[Watch]:
    """Probes watch the guest while the block runs, and a while before and after."""
    commands = [
        ["udp", f"{address}:{PORTS['udp']}", "--rate", str(RATE_PER_S)],
        ["tcp", f"{address}:{PORTS['tcp']}"],
    ]
    watch = Watch([_start(lab, command) for command in commands])
    try:
        for process in watch.processes:
            _wait_ready(process)
        time.sleep(BEFORE_S)
        yield watch
        time.sleep(AFTER_S)
        for process in watch.processes:
            process.send_signal(signal.SIGINT)
        for process in watch.processes:
            account = json.loads(process.communicate(timeout=READY_S)[0])
            watch.seen[account["probe"]] = account
    finally:
        for process in watch.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for_guest(lab: Lab, address: str) -> None:
    """Returns with the first answer of the guest's echo service, which refuses until it is up."""
    deadline = time.monotonic() + READY_S
    argv = [
        "segue",
        "probe",
        "udp",
        f"{address}:{PORTS['udp']}",
        "--rate",
        "20",
        "--duration",
        "1s",
        "-o",
        "json",
    ]
    while lab.exec(CLIENT, argv).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the guest at {address} does not answer within {READY_S:.0f} s")


def set_working_set(lab: Lab, address: str, size_bytes: int) -> None:
    """The guest fills this much memory, and writes in there from now on."""
    _tell(lab, address, f"size {size_bytes}", "ok")


def set_dirty_rate(lab: Lab, address: str, bytes_per_s: int) -> None:
    """From now on the guest writes its memory at this rate."""
    _tell(lab, address, f"rate {bytes_per_s}", "ok")


def written_bytes(lab: Lab, address: str) -> tuple[int, float]:
    """What the guest has written since it was started, and its own clock in seconds."""
    words = _tell(lab, address, "status", "rate").split()
    return int(words[words.index("written") + 1]), float(words[words.index("uptime") + 1])


def _tell(lab: Lab, address: str, words: str, wanted: str) -> str:
    """One line to the guest's dirtier; its answer has to begin as `wanted`."""
    script = f"exec 3<>/dev/tcp/{address}/{PORTS['dirty']}; echo '{words}' >&3; head -n 1 <&3"
    done = lab.exec(CLIENT, ["bash", "-c", script], timeout=FILL_S)
    if not done.stdout.startswith(wanted):
        raise RuntimeError(f"the guest at {address} does not do {words}: {done.stdout} {done.stderr}")
    return done.stdout


def _start(lab: Lab, command: list[str]) -> subprocess.Popen[str]:
    argv = ["segue", "probe", *command, "--drain", "1s", "-o", "json"]
    return lab.popen(CLIENT, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    words = []
    for line in process.stderr:
        words.append(line.strip())
        if line.startswith("ready"):
            return
    raise RuntimeError(f"the probe saw nothing: {' '.join(words)}")
