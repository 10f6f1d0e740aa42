"""Begins commands on this host that outlive the agent, and reads what became of them. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.adapters.maintenance import child

CHILD: Final = Path(child.__file__)
SYSTEMD: Final = Path("/run/systemd/system")
REFUSES_S: Final = 30.0


@dataclass(frozen=True)
class Result:
    """As child.py wrote it. why: empty, `late` or `ended`."""

    code: int
    why: str
    ended_s: float
    head: str
    tail: str
    output_bytes: int


def begin(folder: Path, number: str, script: str, within_s: float) -> None:
    """Returns once it is on its way. Raises OSError where it is not."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    child.write(folder / f"{number}.sh", script)
    argv = [sys.executable, "-I", "-S", str(CHILD), str(folder), number, str(within_s)]
    if SYSTEMD.is_dir():
        # The agent's own service may not write to /usr; a unit of its own may, and is not ended with the agent.
        unit = f"--unit=segue-job-{number}"
        argv = ["systemd-run", "--quiet", "--collect", "--no-ask-password", unit, "--nice=0", *argv]
    process = subprocess.Popen(
        ["nice", "-n", str(-os.nice(0)), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Thread(target=process.wait, daemon=True).start()


def result(folder: Path, number: str) -> Result | None:
    """None while there is none."""
    try:
        told = json.loads((folder / f"{number}.result.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Result(
        int(told["code"]), str(told["why"]), float(told["ended_s"]), told["head"], told["tail"], told["bytes"]
    )


def lives(folder: Path, number: str) -> bool | None:
    """Whether its process is there; None where it never wrote down that it began, or has ended in good order."""
    noted = folder / f"{number}.pid"
    try:
        pid, birth = noted.read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        return None  # It may be written in this very moment: then it has just begun.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False if noted.exists() else None
    return stat.rpartition(")")[2].split()[19] == birth


def end(folder: Path, number: str) -> None:
    """Asks it to end; one that has ended is no error."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        if lives(folder, number):
            pid = int((folder / f"{number}.pid").read_text(encoding="ascii").split()[0])
            os.kill(pid, signal.SIGTERM)


def forget(folder: Path, number: str) -> None:
    """Deletes its files."""
    for suffix in ("sh", "pid", "result.json"):
        (folder / f"{number}.{suffix}").unlink(missing_ok=True)


async def reboot(command: Sequence[str]) -> str:
    """Lets the host begin to reboot; why it does not, or nothing."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(REFUSES_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return ""  # It does not return before the machine goes down.
    except OSError as error:
        return str(error)
    if process.returncode:
        return f"{command[0]} ended with {process.returncode}: {said.decode(errors='replace')[-300:].strip()}"
    return ""
