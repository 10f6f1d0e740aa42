"""One QEMU process: started so that it outlives the agent, found again after a restart, ended for good."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from segue.adapters import priority
from segue.adapters.process import Ending, end_process, is_dying, listener_pid, reap_when_it_ends
from segue.adapters.qemu import hatch, identity
from segue.adapters.qemu.command import NOTHING_LENT, Lent, Places, arguments
from segue.adapters.qemu.monitor import Event, Monitor, QemuDeaf, QemuGone, stamp_s
from segue.errors import Refused
from segue.model.crash import Cause
from segue.model.guest import Guest

T = TypeVar("T")
CRASHED: Final = {"guest-panicked": Cause.PANIC, "watchdog": Cause.WATCHDOG}
"""QEMU's states of a guest that stands because it crashed."""

BINARY = "qemu-system-x86_64"
START_S = 30.0
WARM_S = 0.2
"""So long a guest that was handed over goes first where it runs: what came while it stood waits for its answers."""
ATTACH_S = 4.0
"""A QEMU that waits for a page of a broken post-copy answers nobody; the agent has other guests to take up."""


FRESH = frozenset({"prelaunch", "inmigrate", "paused"})
"""A guest that has run and halted by itself is in another state; one that we stopped is `paused`, too, but that
is a source, and of a source nobody asks."""


class Machine:
    """QEMU of one guest. `running` follows QEMU's own events; `fresh`: no vCPU of a copy that came in has run."""

    from_disks = False
    """It waits to start its guest from the disks: nothing comes in."""
    crash: Cause | None = None
    """Why its guest stands by itself: it will never do anything sensible again."""
    ending: Ending | None = None
    """Where it is our own child: how it ended."""

    def __init__(
        self, guest: Guest, places: Places, monitor: Monitor, pid: int, *, running: bool, fresh: bool
    ) -> None:
        self.guest = guest
        self.running = running
        self.fresh = fresh
        self.places = places
        self.monitor = monitor
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self.stopped_at_s = 0.0
        self.resumed_at_s = 0.0
        self.ended_by_guest = ""
        self.reset_by_guest = 0
        self._usual: int | None = None
        monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        at_s = stamp_s(event)
        if event["event"] == "STOP":
            self.stopped_at_s, self.running = at_s, False
        elif event["event"] == "RESUME":
            self.resumed_at_s, self.running, self.fresh = at_s, True, False
            # Here and not where it was told to: QEMU may do so long after, when the page comes that it waits for.
            asyncio.get_running_loop().call_later(WARM_S, self.relax)
        elif event["event"] == "SHUTDOWN":
            self.ended_by_guest = str(event["data"]["reason"])
        elif event["event"] == "GUEST_PANICKED":
            self.crash = Cause.PANIC
        elif event["event"] == "WATCHDOG":
            self.crash = Cause.WATCHDOG

    @property
    def crashed_at_s(self) -> float:
        """When that was, by the wall clock; 0 where it is not known."""
        if self.crash is not None:
            return self.stopped_at_s
        return self.ending.at_s if self.ending is not None else 0.0

    @property
    def is_over(self) -> bool:
        """Its guest shut down or crashed: there is nothing in it that could go on."""
        return bool(self.ended_by_guest) or self.crash is not None

    @property
    def version(self) -> str:
        """As it says itself; the program that it was started from may have been replaced since."""
        return self.monitor.version

    def alive(self) -> bool:
        """What the kernel says now; the monitor's hang-up is heard a moment later."""
        if self._handle < 0 or self.monitor.gone.is_set():
            return False
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        return not ended.poll(0) and not is_dying(self.pid)

    @property
    def gone(self) -> asyncio.Event:
        """Set once the process or its monitor is no more."""
        return self.monitor.gone

    async def cont(self) -> float:
        """Lets the vCPUs run; the wall-clock time at which they did."""
        self.resumed_at_s = 0.0
        await self.monitor.execute("cont")
        await self.monitor.until(lambda: self.resumed_at_s > 0, within_s=START_S)
        return self.resumed_at_s

    async def describe(self, *, devices: bool) -> None:
        """Whether its devices' state goes, or comes, with a description in JSON: QEMU does so by itself.

        It is made while the guest stands (our lab: 2 ms), and serves developers of QEMU alone. Both sides have to be
        told the same: QEMU waits for ever for one that it expects.
        """
        await self.monitor.execute("qom-set", path="/machine", property="suppress-vmdesc", value=not devices)

    def hasten(self) -> None:
        """It waits for a processor no longer than the agent does, until `relax`. Safe to repeat."""
        if self.alive() and (usual := priority.of(self.pid)) > priority.own():
            self._usual = usual
            priority.give(self.pid, priority.own())

    def relax(self) -> None:
        """It waits like any other again. Safe to repeat."""
        if self._usual is not None and self.alive():
            priority.give(self.pid, self._usual)
        self._usual = None

    def end_old_haste(self) -> None:
        """Of an agent that was restarted meanwhile: it did not live to take it back."""
        if priority.of(self.pid) == priority.own() < priority.NORMAL:
            priority.give(self.pid, priority.NORMAL)

    async def announce(self) -> None:
        """Makes switches learn where the guest is: RARP for each card, five times within half a second."""
        await self.monitor.execute("announce-self", initial=20, max=200, rounds=5, step=50)

    async def stop(self) -> float:
        """Stops the vCPUs; the wall-clock time at which they stood. Safe to repeat."""
        await self.monitor.execute("stop", within_s=START_S)
        return self.stopped_at_s

    async def power_button(self) -> None:
        """Asks the guest to shut down."""
        await self.monitor.execute("system_powerdown")

    async def end(self) -> None:
        """Ends the process, and returns only when the kernel says that it is gone."""
        await end_process(self.pid)
        await self.monitor.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


async def launch(
    guest: Guest,
    places: Places,
    tap_fds: Sequence[int],
    user: str,
    *,
    incoming: bool,
    memory_fd: int = -1,
    lent: Lent = NOTHING_LENT,
) -> Machine:
    """Starts QEMU as the guest's own user, detached from the agent. Raises Refused with QEMU's own words.

    user: lends its groups, and itself to a guest that has no user number.
    """
    words = arguments(guest, places, tap_fds, incoming=incoming, memory_fd=memory_fd, lent=lent)
    kept = (*tap_fds, *([memory_fd] if memory_fd >= 0 else []))
    return await come_up(guest, places, spawn(guest, places, words, kept, user))


def spawn(
    guest: Guest, places: Places, words: Sequence[str], kept: Sequence[int], user: str
) -> subprocess.Popen[bytes]:
    """QEMU as a process, which may still end at once. kept: descriptors that it inherits."""
    owner = identity.of(guest, user)
    _make_folder(places, owner)
    # The agent runs above normal priority, for the blackout's sake; its guests do not.
    argv = ["nice", "-n", str(-os.nice(0)), *owner.prefix(), BINARY, *words]
    with _log(places) as log:
        # Not asyncio's subprocess: that kills its child when the event loop ends, and QEMU outlives the agent.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=kept,
            start_new_session=True,
            cwd=places.folder,
        )


async def come_up(guest: Guest, places: Places, process: subprocess.Popen[bytes]) -> Machine:
    """The QEMU once it answers. Raises Refused with its own words."""
    ending = reap_when_it_ends(process)
    try:
        machine = await when_ready(lambda: attach(guest, places), process)
        machine.ending = ending
        hatch.agree(places)
        return machine
    except QemuGone as error:
        raise Refused(
            what=f"cannot start QEMU for {guest.name}",
            why=last_words(places.log) or str(error),
            todo=f"Mend what QEMU says (all of it is in {places.log} on this host), then try again.",
        ) from error


async def when_ready(connect: Callable[[], Awaitable[T]], process: subprocess.Popen[bytes]) -> T:
    """What `connect` returns once the process listens. Raises QemuGone where it ended or never does."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await connect()
        except QemuGone:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        # QEMU has no way to say that its socket listens now but to be asked.
        await asyncio.sleep(0.02)


async def attach(guest: Guest, places: Places) -> Machine:
    """The running QEMU of this guest. Raises QemuGone where there is none, QemuDeaf for one that does not answer."""
    pid = listener_pid(places.monitor)
    if pid is None:
        raise QemuGone(f"no QEMU listens at {places.monitor}")
    monitor = await _connected(guest, places, pid)
    try:
        status = str((await monitor.execute("query-status", within_s=ATTACH_S))["status"])
    except TimeoutError as error:
        await monitor.close()
        raise QemuDeaf(f"QEMU does not answer at {places.monitor}") from error
    machine = Machine(guest, places, monitor, pid, running=status == "running", fresh=status in FRESH)
    machine.from_disks = status == "prelaunch"
    if status == "shutdown":
        machine.ended_by_guest = "guest-shutdown"
    machine.crash = CRASHED.get(status)
    machine.end_old_haste()
    return machine


async def _connected(guest: Guest, places: Places, pid: int) -> Monitor:
    """A process that listens is never called gone, however long it lets us wait: another would be started beside it."""
    deadline = time.monotonic() + ATTACH_S
    while True:
        monitor = Monitor(guest.name, places.monitor)
        try:
            await monitor.connect(ATTACH_S)
            return monitor
        except QemuGone as error:
            if is_dying(pid):
                raise
            if time.monotonic() > deadline:
                raise QemuDeaf(f"QEMU does not let us in at {places.monitor}") from error
        # Its queue of one was full: QEMU has not noticed yet that the caller before hung up.
        await asyncio.sleep(0.05)


def _log(places: Places) -> BinaryIO:
    """Written by root's descriptor into the guest's folder, so never through a link that lies there."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(places.log, flags, 0o600), "ab")


def make_folder(folder: Path, owner: identity.Identity) -> None:
    """The folder of a guest's sockets; safe to repeat."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o711)  # QEMU's user passes through, whatever the agent's umask is.
    folder.mkdir(exist_ok=True)
    owner.own(folder, 0o700)


def _make_folder(places: Places, owner: identity.Identity) -> None:
    make_folder(places.folder, owner)
    _own_log(places.console_log, owner)
    for stale in places.sockets:
        stale.unlink(missing_ok=True)
    hatch.make(places, owner.uid, owner.gid)


def _own_log(path: Path, owner: identity.Identity) -> None:
    """What an earlier guest of that name wrote belongs to another user."""
    try:
        owner.own(path)
    except FileNotFoundError:
        return
    except OSError:
        path.unlink()  # Not a file that we made.


def last_words(log: Path) -> str:
    """The last line that QEMU wrote; empty where it wrote none."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1] if lines else ""
