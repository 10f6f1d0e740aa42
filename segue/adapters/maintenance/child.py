"""Runs one command of a maintenance to its end, whoever asked for it; only the standard library may be imported here.

Started by the agent as `python -I -S child.py FOLDER NUMBER WITHIN_S`, and outlives it: an upgrade may restart the
agent. It leaves NUMBER.pid while it runs and NUMBER.result.json when all is over, and never keeps more of the output
than its beginning and its end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

KEPT_BYTES: Final = 32 << 10
READ_BYTES: Final = 64 << 10
AFTER_S: Final = 1.0
"""So long what the command left running is listened to once the command itself has ended."""
MERCY_S: Final = 10.0
"""Between the request to end and the end."""
LOOK_S: Final = 0.2


class Output:
    """The beginning and the end of what was written, however much that was."""

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.bytes = 0

    def take(self, raw: bytes) -> None:
        self.bytes += len(raw)
        room = KEPT_BYTES - len(self.head)
        self.head += raw[:room]
        self.tail = (self.tail + raw[max(0, room) :])[-KEPT_BYTES:]


def main() -> int:
    folder, number, within_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    asked: list[int] = []
    # Before anybody can know whom to ask.
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    write(folder / f"{number}.pid", f"{os.getpid()} {birth()}")
    output = Output()
    process = subprocess.Popen(
        ["/bin/sh", "-e", str(folder / f"{number}.sh")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )
    whole = follow(process, output, time.monotonic() + within_s, asked)
    why = "" if whole else "ended" if asked else "late"
    if why:
        end(process)
    result = {
        "code": process.returncode,
        "why": why,
        "ended_s": time.time(),
        "head": output.head.decode(errors="replace"),
        "tail": output.tail.decode(errors="replace"),
        "bytes": output.bytes,
    }
    write(folder / f"{number}.result.json", json.dumps(result))
    (folder / f"{number}.pid").unlink(missing_ok=True)
    return 0


def follow(process: subprocess.Popen[bytes], output: Output, until_s: float, asked: list[int]) -> bool:
    """Reads until the command has ended; False where its time was over first, or somebody asked it to end."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    deadline_s, ended = until_s, False
    while time.monotonic() < deadline_s and not asked:
        ready, _, _ = select.select([pipe], [], [], LOOK_S)
        if ready:
            raw = os.read(pipe, READ_BYTES)
            if not raw and process.poll() is None:
                return _ends(process, deadline_s, asked)
            if not raw:
                return True
            output.take(raw)
        if not ended and process.poll() is not None:
            # What it left running may hold the pipe for ever, and is not the command any more.
            ended, deadline_s = True, min(until_s, time.monotonic() + AFTER_S)
    return process.poll() is not None


def _ends(process: subprocess.Popen[bytes], until_s: float, asked: list[int]) -> bool:
    """A command that closed its output and goes on."""
    while process.poll() is None and time.monotonic() < until_s and not asked:
        time.sleep(LOOK_S)
    return process.poll() is not None


def end(process: subprocess.Popen[bytes]) -> None:
    """The command and all that it started and did not put elsewhere."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(MERCY_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def birth() -> str:
    """Tells this process from a later one of the same number."""
    return Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]


def write(path: Path, text: str) -> None:
    """Whole or not at all, also over a power loss."""
    half = path.with_name(f".{path.name}.half")
    with os.fdopen(
        os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


if __name__ == "__main__":
    sys.exit(main())
