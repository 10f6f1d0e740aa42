"""Asks this host's QEMU what it can do: at the agent's start, and once more when another one was installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from segue.adapters.qemu import queues, userfault
from segue.adapters.qemu.machine import BINARY, START_S
from segue.adapters.qemu.monitor import Monitor, QemuGone, QemuRefused
from segue.errors import Refused

COMPRESSIONS = ("zlib", "zstd")
WORDS_S = 1.0
WORDS_BYTES = 16 << 10
WORDS_SHOWN = 300


@dataclass(frozen=True)
class Capabilities:
    """`cpu_models`: model -> features of it that this host and accelerator lack."""

    version: str
    accelerator: str
    machines: tuple[str, ...]
    cpu_models: dict[str, tuple[str, ...]]
    queue_entries: dict[str, int] = field(default_factory=dict)
    """Virtio device -> entries of the queue that this QEMU gives it: see queues.py."""
    compressions: tuple[str, ...] = ()
    """What it can compress memory with on its way."""
    fingerprint: tuple[int, ...] = ()
    """Of the program that was asked: see `fingerprint`."""
    no_post_copy: str = ""
    """Why QEMU's user cannot take a guest in by post-copy; empty where it can."""


def accelerator() -> str:
    """KVM only where the processor has it: a /dev/kvm that opens is not yet one that works."""
    flags = Path("/proc/cpuinfo").read_text()
    usable = Path("/dev/kvm").exists() and any(f" {flag} " in flags for flag in ("vmx", "svm"))
    return "kvm" if usable else "tcg"


def fingerprint(program: Path | None = None) -> tuple[int, ...]:
    """Which file a program is, the installed one where none is named; empty where there is none.

    With its time: the number of a file that is gone is given to the next one.
    """
    try:
        found = (program or Path(shutil.which(BINARY) or BINARY)).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


async def ask(folder: Path, user: str) -> Capabilities:
    """Starts an empty QEMU for a moment. Raises Refused where there is none."""
    chosen = accelerator()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "qmp.sock"
        argv = ["-S", "-nodefaults", "-nographic", "-machine", "q35", "-accel", chosen, "-m", "16M"]
        argv += ["-device", "virtio-serial-pci", "-device", "virtio-rng-pci", "-device", "virtio-net-pci"]
        argv += ["-blockdev", "null-co,node-name=none,read-zeroes=on", "-device", "virtio-blk-pci,drive=none"]
        argv += ["-qmp", f"unix:{path},server=on,wait=on"]
        try:
            # A group of its own: what may stand for QEMU, such as a wrapper, ends with all that it started.
            process = await asyncio.create_subprocess_exec(
                BINARY, *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise _no_qemu(f"there is no {BINARY} on this host") from error
        except OSError as error:
            raise _no_qemu(f"{BINARY} cannot be started: {error.strerror}") from error
        try:
            return await _interview(path, chosen, user, process)
        except (QemuGone, QemuRefused, TimeoutError) as error:
            how = str(error) or f"it said nothing within {START_S:g} s"
            raise _no_qemu(": ".join(filter(None, (how, await _last_words(process))))) from error
        finally:
            _end(process)
            await process.wait()


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The end of what it wrote. Ends it."""
    _end(process)
    assert process.stderr is not None
    raw = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WORDS_S):
            raw = await process.stderr.read(WORDS_BYTES)
    return " ".join(raw.decode(errors="replace").split())[-WORDS_SHOWN:]


def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _interview(path: Path, chosen: str, user: str, process: asyncio.subprocess.Process) -> Capabilities:
    monitor = Monitor("capabilities", path)
    async with asyncio.timeout(START_S):
        # The library writes an error to the log for each try at a socket that is not there yet.
        while not (path.exists() and await _connected(monitor)):
            if process.returncode is not None:
                raise QemuGone(f"it ended with {process.returncode}")
            # QEMU has no way to say that its socket listens now but to be asked.
            await asyncio.sleep(0.02)
    version = (await monitor.execute("query-version"))["qemu"]
    machines = await monitor.execute("query-machines")
    models = await monitor.execute("query-cpu-definitions")
    queue_entries = await queues.entries(monitor)
    compressions = [method for method in COMPRESSIONS if await _takes(monitor, method)]
    await monitor.close()
    return Capabilities(
        version=f"{version['major']}.{version['minor']}.{version['micro']}",
        accelerator=chosen,
        machines=tuple(sorted(machine["name"] for machine in machines)),
        cpu_models={m["name"]: tuple(m.get("unavailable-features", ())) for m in models},
        queue_entries=queue_entries,
        compressions=tuple(compressions),
        fingerprint=fingerprint(),
        no_post_copy=userfault.grant(user),
    )


async def _connected(monitor: Monitor) -> bool:
    try:
        await monitor.connect()
    except QemuGone:
        return False
    return True


async def _takes(monitor: Monitor, method: str) -> bool:
    """QEMU is built with some methods, and refuses the others."""
    try:
        await monitor.execute("migrate-set-parameters", multifd_compression=method)
    except QemuRefused:
        return False
    return True


def _no_qemu(why: str) -> Refused:
    return Refused(
        what="this host's QEMU cannot be used",
        why=why,
        todo="Install QEMU 10.0 or newer for x86-64 (Debian: qemu-system-x86).",
    )
