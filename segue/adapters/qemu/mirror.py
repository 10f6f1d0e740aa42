"""Keeps copies of a running guest's disks on another host equal: one mirror job of QEMU for each disk.

A trap of QEMU (10.0 and before): a mirror that ends while a write of the guest is on its way to both sides frees what
that write still changes when it is done (mirror.c: mirror_run frees in_flight_bitmap, active_write_settle clears bits
of it), and the guest's QEMU dies of it, sooner or later. So no mirror ends by itself: an error pauses it, and one that
writes to both sides is ended while the guest stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuRefused
from segue.errors import Aborted
from segue.model.storage import DiskCopy, DiskProgress

RECONNECT_S = 60
"""A write to a target that hung up waits so long for it to come back, and goes on where it was."""
ERRORS = {"failed": "Input/output error", "nospace": "No space left on device"}
"""What a mirror's io-status means."""
LOOK_S = 0.001


class DiskMirror:
    """All mirrors of one guest. Every method may be called twice."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._execute = machine.monitor.execute

    async def begin(self, copies: Iterable[DiskCopy], address: str, tls_creds: str, bytes_per_s: int) -> None:
        """Starts to copy each disk to its export at `address` (host:port); 0 bytes per second: no cap."""
        jobs = await self._jobs()
        for copy in copies:
            disk = copy.disk
            if _job(disk.id) not in jobs:
                await self._connect(disk.id, address, tls_creds)
                await self._execute(
                    "blockdev-mirror",
                    job_id=_job(disk.id),
                    device=disk.id,
                    target=_far(disk.id),
                    # What lies below the disk is on the target already.
                    sync="top" if disk.layers else "full",
                    # Not slowed down by the link until it has to be: see `tie`.
                    copy_mode="background",
                    speed=bytes_per_s,
                    # It stays until we have seen how it ended: one that is gone may have failed.
                    auto_dismiss=False,
                    on_source_error="stop",
                    on_target_error="stop",
                )

    async def _connect(self, disk: str, address: str, tls_creds: str) -> None:
        host, _, port = address.rpartition(":")
        node: dict[str, Any] = {
            "driver": "nbd",
            "node_name": _far(disk),
            "server": {"type": "inet", "host": host, "port": port},
            "export": disk,
            "reconnect_delay": RECONNECT_S,
            "discard": "unmap",
        }
        if tls_creds:
            node["tls_creds"] = tls_creds
        if _far(disk) not in await self._nodes():
            await self._execute("blockdev-add", **node)

    async def progress(self, copies: Sequence[DiskCopy]) -> tuple[DiskProgress, bool]:
        """How far it is, and whether every disk has been copied once. Raises Aborted when a mirror broke."""
        jobs = await self._sound(copies)
        mine = [jobs[_job(copy.disk.id)] for copy in copies]
        done = DiskProgress(sum(job["len"] for job in mine), sum(job["offset"] for job in mine))
        return done, all(job["ready"] for job in mine)

    async def tie(self, copies: Sequence[DiskCopy], within_s: float) -> None:
        """From here on a write of the guest is done when both copies have it. Raises Aborted, TimeoutError."""
        jobs = await self._sound(copies)
        for copy in copies:
            if not jobs[_job(copy.disk.id)].get("actively-synced"):
                await self._execute(
                    "block-job-change", id=_job(copy.disk.id), type="mirror", copy_mode="write-blocking"
                )
        async with asyncio.timeout(within_s):
            while not await self._tied(copies):
                # QEMU has no event for it.
                await asyncio.sleep(LOOK_S * 10)

    async def _tied(self, copies: Sequence[DiskCopy]) -> bool:
        jobs = await self._sound(copies)
        return all(jobs[_job(copy.disk.id)].get("actively-synced") for copy in copies)

    async def cut(self, copies: Sequence[DiskCopy]) -> None:
        """Both copies are equal and the guest stands: ends the mirrors and lets go of the target.

        Raises Aborted when a mirror broke before it was equal.
        """
        await asyncio.gather(*(self._cut(copy) for copy in copies))

    async def _cut(self, copy: DiskCopy) -> None:
        job = _job(copy.disk.id)
        try:
            # A mirror that is ready and is cancelled ends with both sides equal, and stays on its own side.
            await self._execute("block-job-cancel", device=job)
        except QemuRefused as error:  # It has ended before.
            raise _broken(copy.disk.path, await self._end_of(job) or "") from error
        while (ended := await self._end_of(job)) is None:
            await asyncio.sleep(LOOK_S)
        dismissal = self._execute("job-dismiss", id=job)
        if ended:
            await dismissal
            raise _broken(copy.disk.path, ended)
        # Before the target closes its end: QEMU would wait for it to come back, with everything else standing.
        await asyncio.gather(dismissal, self._execute("blockdev-del", node_name=_far(copy.disk.id)))

    async def hang_up(self, disks: Iterable[str]) -> None:
        """What waits for the target fails at once. Heard also by a QEMU that is deaf because it waits for that."""
        for disk in disks:
            node = {"type": "block-node", "node-name": _far(disk)}
            with contextlib.suppress(QemuRefused):  # There is none, or it hung up by itself.
                await self._execute("yank", oob=True, instances=[node])

    async def stop(self, disks: Iterable[str]) -> None:
        """Ends every mirror wherever it is, also when the link is dead; the guest goes on with its own disk.

        It stands for some milliseconds where its writes may be on their way to both sides.
        """
        names = list(disks)
        await self.hang_up(names)
        jobs = await self._jobs()
        mine = [_job(disk) for disk in names if _job(disk) in jobs]
        stands = self._machine.running and any(jobs[job]["ready"] for job in mine)
        if stands:
            await self._machine.stop()
        try:
            for job in mine:
                await self._give_up(job)
        finally:
            if stands:
                await self._machine.cont()
        for disk in names:
            if _far(disk) in await self._nodes():
                await self._execute("blockdev-del", node_name=_far(disk))

    async def _give_up(self, job: str) -> None:
        with contextlib.suppress(QemuRefused):  # It has ended already.
            await self._execute("block-job-cancel", device=job, force=True)
        while await self._end_of(job) is None:
            await asyncio.sleep(LOOK_S)
        with contextlib.suppress(QemuRefused):
            await self._execute("job-dismiss", id=job)

    async def _end_of(self, job: str) -> str | None:
        """None while it goes on; then its error, empty for a good end."""
        for known in await self._execute("query-jobs"):
            if known["id"] == job:
                return str(known.get("error", "")) if known["status"] == "concluded" else None
        return "nobody knows how it ended"

    async def _sound(self, copies: Sequence[DiskCopy]) -> dict[str, dict[str, Any]]:
        """The jobs as they go on. Raises Aborted where one does not."""
        jobs = await self._jobs()
        for copy in copies:
            if _job(copy.disk.id) not in jobs:
                raise _broken(copy.disk.path)
            ended = await self._end_of(_job(copy.disk.id))
            if ended is None:
                ended = ERRORS.get(jobs[_job(copy.disk.id)]["io-status"])
            if ended is not None:
                raise _broken(copy.disk.path, ended)
        return jobs

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        return {job["device"]: job for job in await self._execute("query-block-jobs")}

    async def _nodes(self) -> set[str]:
        return {node["node-name"] for node in await self._execute("query-named-block-nodes", flat=True)}


def _far(disk: str) -> str:
    return f"{disk}-far"


def _job(disk: str) -> str:
    return f"mirror-{disk}"


def _broken(path: str, why: str = "") -> Aborted:
    return Aborted(
        what=f"the copy of {path} broke",
        why=why or "the target did not take its data any more",
        todo="Look at the link between the hosts and at the room on the target's storage, then try again.",
    )
