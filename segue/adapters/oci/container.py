"""One application's container: started so that it outlives the agent, found again after a restart, ended for good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters import system
from segue.adapters.oci import mounts, warden
from segue.adapters.oci.cgroup import Cgroup
from segue.adapters.oci.places import AppPlaces
from segue.adapters.process import reap_when_it_ends
from segue.errors import Refused

CRUN: Final = "crun"
START_S: Final = 60.0
END_S: Final = 10.0
EXIT_S: Final = 2.0
"""The warden writes how the application ended within milliseconds; it may have been killed, too."""
FIFO: Final = "exec.fifo"
"""Among the runtime's notes from the making of a container until it is told to run."""
LOG_BYTES: Final = 10 << 20
LOG_FILES: Final = 5


@dataclass(frozen=True)
class Exit:
    """How an application ended: a status, or the number of a signal, negative; None where nobody knows."""

    status: int | None
    at_s: float

    @property
    def text(self) -> str:
        """For people."""
        if self.status is None:
            return "nobody saw how"
        if self.status < 0:
            with contextlib.suppress(ValueError):
                return f"by {signal.Signals(-self.status).name}"
            return f"by signal {-self.status}"
        return f"status {self.status}"


class Container:
    """The container of a guest that is an application. Closed by `end`."""

    def __init__(self, places: AppPlaces, pid: int) -> None:
        self.places = places
        self.pid = pid
        self.cgroup = Cgroup(places.cgroup)
        self.resumed_at_s = 0.0
        """When it was last let run by this agent, by the wall clock; 0 where an earlier one did."""
        self.gone = asyncio.Event()
        """Set once its first process, and with it every other, has ended."""
        self._handle = os.pidfd_open(pid)
        self._listeners: list[Callable[[], None]] = []
        asyncio.get_running_loop().add_reader(self._handle, self._note_end)

    def when_gone(self, call: Callable[[], None]) -> None:
        """`call` is called when it has ended by itself."""
        self._listeners.append(call)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        self.gone.set()
        for call in self._listeners:
            call()

    def alive(self) -> bool:
        """What the kernel says now."""
        if self._handle < 0 or self.gone.is_set():
            return False
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        return not ended.poll(0)

    @property
    def frozen(self) -> bool:
        """True while nothing of it runs, though it is there."""
        return self.cgroup.frozen

    @property
    def running(self) -> bool:
        """True while its processes may run."""
        return self.alive() and not self.frozen

    async def freeze(self) -> None:
        """Nothing of it runs when this returns. Raises TimeoutError."""
        await self.cgroup.freeze()

    def thaw(self) -> None:
        """It goes on."""
        self.cgroup.thaw()

    async def ask_to_end(self, name: str, within_s: float) -> bool:
        """Sends its first process the signal by which it ends in good order; whether it did."""
        if within_s <= 0 or not self.alive():
            return not self.alive()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.Signals[name])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.gone.wait()
        return self.gone.is_set()

    async def exit(self) -> Exit:
        """How it ended, for one that is gone."""
        deadline = time.monotonic() + EXIT_S
        while (found := read_exit(self.places)) is None and time.monotonic() < deadline:
            await asyncio.sleep(
                0.01
            )  # The warden saw it at the same moment as we did, and writes it down now.
        return found or Exit(None, time.time())

    def close(self) -> None:
        """Gives our handle back; the container stays."""
        if self._handle >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


async def launch(places: AppPlaces, argv: Sequence[str], within_s: float | None = START_S) -> Container:
    """Has `argv` make the container, under a warden; raises Refused with the runtime's own words.

    `argv` ends once the container is there, and has then written its first process to `places.pid`.
    within_s: None for one that waits for a word of ours before it runs.
    """
    for stale in (places.pid, places.warden, places.exit, places.runtime_log):
        stale.unlink(missing_ok=True)
    spec = places.bundle / "warden-spec.json"
    spec.write_text(json.dumps(_spec(places, argv)), encoding="utf-8")
    # The agent runs above normal priority, for the blackout's sake; its guests do not.
    command = ["nice", "-n", str(-os.nice(0)), sys.executable, "-I", "-S", warden.__file__, str(spec)]
    # Not asyncio's subprocess: that kills its child when the event loop ends, and the warden outlives the agent.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    )  # fmt: skip
    reap_when_it_ends(process)
    said = await asyncio.to_thread(_hear, process, within_s)
    if not said.startswith("ready "):
        raise Refused(
            what=f"cannot start {places.name}",
            why=_last_words(places) or said.removeprefix("failed ") or "its warden ended at once",
            todo=f"Mend what the runtime says (all of it is in {places.runtime_log}), then try again.",
        )
    try:
        return Container(places, int(said.split()[1]))
    except ProcessLookupError as error:
        found = read_exit(places)
        raise Refused(
            what=f"{places.name} ended as soon as it was started",
            why=found.text if found else "nobody saw how",
            todo=f"Look at what it said: `segue app logs {places.name}`.",
        ) from error


def crun(places: AppPlaces, *words: str) -> list[str]:
    """The runtime's command line; what it has to say goes to its own log."""
    own = ["--root", str(places.crun), "--cgroup-manager", "cgroupfs", "--log", str(places.runtime_log)]
    return [CRUN, *own, *words]


def create_command(places: AppPlaces) -> list[str]:
    """Makes the container of the bundle. Nothing of the application runs before `begin`."""
    return crun(places, "create", "--bundle", str(places.bundle), "--pid-file", str(places.pid), places.name)


async def begin(places: AppPlaces) -> None:
    """Lets one that was made run. Raises Refused with the runtime's own words."""
    if await _run(crun(places, "start", places.name)) != 0:
        raise Refused(
            what=f"cannot start {places.name}",
            why=_last_words(places) or "the runtime did not say why",
            todo=f"Mend what the runtime says (all of it is in {places.runtime_log}), then try again.",
        )


async def find(places: AppPlaces) -> Container | None:
    """The application's container if it is there, whoever started it."""
    deadline = time.monotonic() + START_S
    while _is_being_made(places) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)  # An agent that was restarted just then; its warden goes on.
    known = _known_pid(places)
    if known is None and Cgroup(places.cgroup).populated():
        await remove(places)  # Nobody knows what it is: its warden was killed while it was made.
        return None
    if known is None:
        return None
    if (places.crun / places.name / FIFO).exists():
        await remove(places)  # Its agent died before it was let run: nobody will.
        return None
    try:
        return Container(places, known)
    except ProcessLookupError:
        return None


async def remove(places: AppPlaces) -> None:
    """Ends whatever runs, and returns only when the kernel says that nothing does. Files of its own stay."""
    cgroup = Cgroup(places.cgroup)
    cgroup.kill()
    deadline = time.monotonic() + END_S
    while cgroup.populated():
        if time.monotonic() > deadline:
            raise TimeoutError(f"what is in {cgroup.folder} does not end")
        await asyncio.sleep(0.005)
    await _forget(places)
    cgroup.remove()
    mounts.detach(places.rootfs)
    mounts.detach(places.bundle / "criu-root")
    shutil.rmtree(places.bundle, ignore_errors=True)


async def _forget(places: AppPlaces) -> None:
    """The runtime's own notes."""
    if (places.crun / places.name).exists():
        await _run(crun(places, "delete", "--force", places.name))


async def _run(argv: Sequence[str]) -> int:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await process.wait()


def read_exit(places: AppPlaces) -> Exit | None:
    """How it ended last; None where that was not written down."""
    found = _read(places.exit)
    return Exit(found["status"], found["at_s"]) if found else None


def _known_pid(places: AppPlaces) -> int | None:
    found = _read(places.warden)
    if not found or system.birth(found["pid"]) != found["birth"]:
        return None
    return int(found["pid"])


def _is_being_made(places: AppPlaces) -> bool:
    return not places.warden.exists() and system.is_locked(places.lock)


def _spec(places: AppPlaces, argv: Sequence[str]) -> dict[str, Any]:
    return {
        "argv": list(argv),
        "pid_file": str(places.pid),
        "warden": str(places.warden),
        "exit": str(places.exit),
        "lock": str(places.lock),
        "logs": str(places.logs),
        "log_bytes": LOG_BYTES,
        "log_files": LOG_FILES,
    }


def _hear(process: subprocess.Popen[bytes], within_s: float | None) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    line = process.stdout.readline().decode(errors="replace").strip() if ready else "failed it takes too long"
    process.stdout.close()
    return line


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _last_words(places: AppPlaces) -> str:
    try:
        lines = places.runtime_log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1] if lines else ""
