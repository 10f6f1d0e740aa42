"""Puts another QEMU in front of the memory of a guest that goes on running; it never lets either of them run.

QEMU calls it CPR transfer (docs/devel/migration/CPR.rst). The new QEMU waits for the descriptors of all memory, which
the old one hands over while its guest runs. Then the old one waits until the new one listens for the devices' state:
that is our hold. It is told to listen only when the guest stands, so what the guest writes meanwhile is not missed,
and QEMU, having seen our stop first, never starts the guest again by itself.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from segue.adapters import integrity
from segue.adapters.maintenance import outdated
from segue.adapters.process import end_process
from segue.adapters.qemu import postcopy, settings
from segue.adapters.qemu.capabilities import fingerprint
from segue.adapters.qemu.command import Places, arguments
from segue.adapters.qemu.machine import START_S, Machine, come_up, last_words, spawn
from segue.adapters.qemu.monitor import Event, QemuRefused, stamp_s
from segue.errors import Aborted, Refused

MARK: Final = ".new-"
"""Then comes the beginning of the migration's id: a QEMU that took a place keeps its first names in its arguments, and
must never be taken for a later one."""
HELD: Final = "setup"
"""QEMU's word for an old QEMU that has handed its descriptors over."""
ENDED: Final = frozenset({"completed", "failed", "cancelled", "none"})
LOOK_S: Final = 0.01
CANCEL_S: Final = 10.0
NOT_YET: Final = "Connection refused"
"""The socket is there an instant before anybody listens at it."""
MEMORY: Final = "memory-backend-memfd"


def beside(places: Places, migration: str) -> Places:
    """The files of the QEMU that is to take the place of the one at `places` by this migration."""
    return replace(places, mark=f"{MARK}{migration[:8]}")


def is_outdated(machine: Machine) -> bool:
    """True where the program, or a library of it, was replaced since; False where nobody can tell."""
    started_from = fingerprint(Path(f"/proc/{machine.pid}/exe"))
    if not started_from:
        return False
    return fingerprint() not in {started_from, ()} or bool(outdated.replaced_files(machine.pid))


async def why_not(machine: Machine) -> str:
    """Why its memory cannot be handed over; empty where it can."""
    ask = machine.monitor.execute
    kind = await ask("qom-get", path="/objects/ram0", property="type")
    shared = await ask("qom-get", path="/objects/ram0", property="share")
    if kind != MEMORY or not shared:
        return "its memory is not one that QEMU can hand over: it was given back after a post-copy had begun"
    if not await ask("qom-get", path="/machine", property="aux-ram-share"):
        return "it was started by a version of segue that did not let its devices' memory be shared"
    return ""


async def launch(old: Machine, migration: str, tap_fds: Sequence[int], user: str) -> Machine:
    """A paused QEMU of the installed version with the memory of the old one, whose guest runs on.

    Raises Refused, Aborted, QemuGone, and then nothing is left of it, but a transfer that `cancel` ends.
    """
    guest, places = old.guest, beside(old.places, migration)
    words = arguments(guest, places, tap_fds, incoming=True, in_place=True)
    process = spawn(guest, places, words, tap_fds, user)
    try:
        await _hand_over(old, places, process)
        made = await come_up(guest, places, process)
        _demand_same_memory(old, made)
        await made.monitor.execute("migrate-set-capabilities", capabilities=settings.only("return-path"))
        return made
    except BaseException:
        process.kill()
        raise


async def _hand_over(old: Machine, places: Places, process: subprocess.Popen[bytes]) -> None:
    execute = old.monitor.execute
    await execute("migrate-set-capabilities", capabilities=settings.only("return-path"))
    await execute("migrate-set-parameters", mode="cpr-transfer", tls_creds="")
    await old.describe(devices=True)  # As the new one has it.
    channels = [_channel("main", places.devices), _channel("cpr", places.descriptors)]
    deadline = time.monotonic() + START_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Refused(
                what=f"cannot start another QEMU for {old.guest.name}",
                why=last_words(places.log) or "it did not come up",
                todo=f"Mend what QEMU says (all of it is in {places.log} on this host), then try again.",
            )
        try:
            if places.descriptors.exists():
                await execute("migrate", channels=channels)
                return
        except QemuRefused as error:
            if NOT_YET not in str(error):
                raise
        await asyncio.sleep(
            LOOK_S
        )  # Whoever tries a connection to see whether it listens takes the only one.


def _channel(kind: str, path: Path) -> dict[str, Any]:
    return {"channel-type": kind, "addr": {"transport": "socket", "type": "unix", "path": str(path)}}


def _demand_same_memory(old: Machine, new: Machine) -> None:
    """Raises Aborted unless both hold one and the same file: a QEMU that makes memory of its own would run a guest
    that has lost all of its."""
    files = []
    for machine in (old, new):
        with integrity.guest_memory(machine.pid, machine.guest.memory_bytes) as fd:
            found = os.fstat(fd)
            files.append((found.st_dev, found.st_ino))
    if files[0] != files[1]:
        raise Aborted(
            what=f"{old.guest.name} stays in its QEMU",
            why="the new QEMU did not take over its memory, but made memory of its own",
            todo="Nothing is lost: it runs on. Move it to another host instead.",
        )


class Succession:
    """What passes from the old QEMU to the new one. Statuses are QEMU's own events."""

    def __init__(self, old: Machine, new: Machine) -> None:
        self._old, self._new = old, new
        self._statuses = {old.pid: "", new.pid: ""}
        self._marks: list[tuple[str, float]] = []
        old.monitor.on_event(lambda event: self._note(old, event))
        new.monitor.on_event(lambda event: self._note(new, event))

    def _note(self, machine: Machine, event: Event) -> None:
        if event["event"] == "MIGRATION":
            status = self._statuses[machine.pid] = str(event["data"]["status"])
            if status == "completed":
                self._marks.append(("sent" if machine is self._old else "loaded there", stamp_s(event)))

    def marks(self) -> tuple[tuple[str, float], ...]:
        """(what, wall-clock seconds), by QEMU's own time stamps."""
        return tuple(self._marks)

    async def demand_held(self) -> None:
        """Raises Aborted unless the new QEMU has all memory, and waits."""
        if not self._new.alive() or await postcopy.status(self._old) != HELD:
            raise self._broken("it ended before the guest stood")

    async def complete(self, within_s: float) -> None:
        """The guest stands: its devices pass over. Raises Aborted, TimeoutError, QemuGone."""
        self._statuses = dict.fromkeys(self._statuses, "")
        channel = _channel("main", self._new.places.devices)
        execute = self._new.monitor.execute
        async with asyncio.timeout(within_s):
            # exit-on-error off: a QEMU that exits takes the reason of the failure with it.
            await execute("migrate-incoming", channels=[channel], exit_on_error=False)
            for machine in (self._old, self._new):
                await machine.monitor.until(
                    lambda pid=machine.pid: self._statuses[pid] in ENDED,  # type: ignore[misc]
                    within_s=within_s,
                )
        for machine in (self._old, self._new):
            if self._statuses[machine.pid] != "completed":
                info = await machine.monitor.execute("query-migrate")
                raise self._broken(str(info.get("error-desc", f"QEMU says {info.get('status')}")))

    def _broken(self, why: str) -> Aborted:
        return Aborted(
            what=f"{self._old.guest.name} stays in its QEMU",
            why=f"the new one did not take it over: {why}",
            todo="Look at QEMU's log on this host, then try again, or move the guest to another host.",
        )


async def cancel(old: Machine) -> None:
    """The old QEMU waits for nobody any more; its guest is as it was. Safe to repeat."""
    if await postcopy.status(old) not in {*ENDED, ""}:
        await old.monitor.execute("migrate_cancel")
        async with asyncio.timeout(CANCEL_S):
            while await postcopy.status(old) not in ENDED:
                await asyncio.sleep(LOOK_S)
    await old.monitor.execute("migrate-set-parameters", mode="normal")


def take_place(machine: Machine) -> None:
    """The new QEMU is found where the old one was, which has ended. Safe to repeat."""
    new = machine.places
    old = replace(new, mark="")
    for path in (new.descriptors, new.devices):
        path.unlink(missing_ok=True)
    # The monitor last: where it is at its new place, everything is.
    for there, here in reversed(list(zip(new.sockets, old.sockets, strict=True))):
        if there.exists() or there.is_symlink():
            there.replace(here)
    machine.places = old


def took_place(machine: Machine, migration: str) -> bool:
    """True for the QEMU that was started by this migration, whatever the names are under which it is found."""
    return machine.pid in _started_with(f"path={beside(machine.places, migration).monitor},")


async def end_strays(places: Places) -> None:
    """Every QEMU beside the guest's own, even one that nobody can speak to yet. Safe to repeat."""
    for file in list(places.folder.glob(f"hatch{MARK}*.in")):
        mark = file.name.removeprefix("hatch").removesuffix(".in")
        stray = replace(places, mark=mark)
        for pid in await asyncio.to_thread(_started_with, f"path={stray.monitor},"):
            await end_process(pid)
        for path in stray.sockets:
            path.unlink(missing_ok=True)


def _started_with(word: str) -> list[int]:
    """Processes that have this among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and word in (entry / "cmdline").read_text(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue  # Ended while we looked.
    return found
