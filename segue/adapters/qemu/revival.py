"""Gives a guest back to its source after QEMU has gone over to post-copy, from where QEMU itself knows no way back.

Once a post-copy has begun the source's QEMU never runs its guest again: it refuses `cont` and `migrate_cancel` alike
(10.0: "Migration is not finalized yet", "Postcopy migration in progress, cannot cancel"). But nothing that the guest
needs is lost. Its memory is a file that another process can hold, its devices stand as they stood, and QEMU still
writes their state down. So a second QEMU takes the same memory, loads that state, and takes the first one's place.

It must be used only while no other copy can have run. The first QEMU ends before the second may run.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from segue.adapters.net import tap
from segue.adapters.process import end_process, listener_pid
from segue.adapters.qemu import postcopy
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.machine import Machine, launch
from segue.adapters.qemu.monitor import Event, QemuRefused
from segue.errors import Refused

log = structlog.get_logger()

MARK: Final = ".next"
MEMORY: Final = "/memfd:memory-backend-memfd (deleted)"
LOAD_S: Final = 20.0
HEADER_BYTES: Final = 8
CONFIGURATION: Final = b"\x07"
"""docs/devel/migration/main.rst, `Stream structure`: after magic and version a stream names its machine. QEMU leaves
that out when it saves devices alone, and demands it when it loads."""


async def needed(machine: Machine) -> bool:
    """True for a QEMU that has gone over to post-copy as its source.

    A target's has the same status and is never revived: of all its memory only a part is there.
    """
    if await postcopy.status(machine) not in postcopy.SWITCHED:
        return False
    return str((await machine.monitor.execute("query-status"))["status"]) == "finish-migrate"


async def revive(old: Machine, taps: Sequence[str], user: str) -> Machine:
    """The guest in a new QEMU, paused where it stood; the old one has ended. Raises Refused, QemuRefused, QemuGone,
    TimeoutError, and then the old one still is there, unless the error says that it ended."""
    places = old.places
    beside = replace(places, mark=MARK)
    await _end_stray(beside)
    state = places.folder / "devices.state"
    await old.monitor.execute("xen-save-devices-state", filename=str(state), live=False)
    kind = await old.monitor.execute("qom-get", path="/machine", property="type")
    _name_machine(state, str(kind).removesuffix("-machine"))
    memory_fd = _memory_of(old)
    tap_fds = [_tap_of(old, name) for name in taps]
    try:
        new = await launch(old.guest, beside, tap_fds, user, incoming=True, memory_fd=memory_fd)
    finally:
        for fd in (memory_fd, *tap_fds):
            os.close(fd)
    try:
        await _load(new, state)
    except BaseException:
        await new.end()
        raise
    finally:
        state.unlink(missing_ok=True)
    await old.end()
    take_place(places)
    new.places = places
    log.info("the guest was given back to its source after a post-copy had begun", guest=old.guest.name)
    return new


async def recover(places: Places) -> None:
    """After a restart of the agent: what a revival that was cut off has left. The old QEMU goes before the new."""
    beside = replace(places, mark=MARK)
    if not beside.monitor.exists():
        return  # Every look at a monitor is a call that QEMU has to take, and it takes one at a time.
    if listener_pid(places.monitor) is None and listener_pid(beside.monitor) is not None:
        take_place(places)
    else:
        await _end_stray(beside)


def take_place(places: Places) -> None:
    """The new QEMU is found where the old one was; a listening socket can be renamed."""
    for new, old in zip(replace(places, mark=MARK).sockets, places.sockets, strict=True):
        if new.exists() or new.is_symlink():
            new.replace(old)


async def _end_stray(beside: Places) -> None:
    """A second QEMU that never got to run."""
    pid = listener_pid(beside.monitor)
    if pid is not None:
        await end_process(pid)
    for path in beside.sockets:
        path.unlink(missing_ok=True)


async def _load(new: Machine, state: Path) -> None:
    seen: list[str] = []

    def note(event: Event) -> None:
        if event["event"] == "MIGRATION":
            seen.append(str(event["data"]["status"]))

    new.monitor.on_event(note)
    events = [{"capability": "events", "state": True}]
    await new.monitor.execute("migrate-set-capabilities", capabilities=events)
    await new.monitor.execute("migrate-incoming", uri=f"file:{state}", exit_on_error=False)
    ends = {"completed", "failed"}
    await new.monitor.until(lambda: bool(seen) and seen[-1] in ends, within_s=LOAD_S)
    if seen[-1] != "completed":
        info = await new.monitor.execute("query-migrate")
        raise QemuRefused(
            f"its devices could not be loaded again: {info.get('error-desc', 'QEMU does not say why')}"
        )


def _name_machine(state: Path, kind: str) -> None:
    content = state.read_bytes()
    name = kind.encode()
    section = CONFIGURATION + struct.pack(">I", len(name)) + name
    with state.open("r+b") as file:  # In place, so that it stays QEMU's own.
        file.write(content[:HEADER_BYTES] + section + content[HEADER_BYTES:])


def _memory_of(machine: Machine) -> int:
    """A descriptor of the guest's memory; as long as it is open the memory outlives the QEMU."""
    for entry in Path(f"/proc/{machine.pid}/fd").iterdir():
        try:
            right = os.readlink(entry) == MEMORY and entry.stat().st_size == machine.guest.memory_bytes
        except FileNotFoundError:
            continue  # Closed while we looked.
        if right:
            return os.open(entry, os.O_RDWR | os.O_CLOEXEC)
    raise _lost(machine, "QEMU does not hold its memory where it should")


def _tap_of(machine: Machine, name: str) -> int:
    number = tap.find_tap_fd(machine.pid, name)
    if number is None:
        raise _lost(machine, f"QEMU holds no tap {name}")
    return tap.take_fd(machine.pid, number)


def _lost(machine: Machine, why: str) -> Refused:
    return Refused(
        what=f"{machine.guest.name} cannot be given back to its source",
        why=why,
        todo="End it and start it from its disk; what was only in memory is lost.",
    )
