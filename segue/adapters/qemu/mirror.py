"""Keeps copies of a running guest's disks on another host equal: one mirror job of QEMU for each disk.

A trap of QEMU (10.0 and before): a mirror that ends while a write of the guest is on its way to both sides frees what
that write still changes when it is done (mirror.c: mirror_run frees in_flight_bitmap, active_write_settle clears bits
of it), and the guest's QEMU dies of it, sooner or later. So no mirror ends by itself: an error pauses it, and one that
writes to both sides is ended while the guest stands.

A second one: a connection that is gone is waited for by QEMU itself (reconnect-delay) only as a whole, the guest's
writes with it, and that wait cannot be broken off. So QEMU is told not to wait: the mirror is paused at once, and
`progress` has it try again for as long as somebody asks.
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

FAILED = "failed"
ERRORS = {FAILED: "Input/output error", "nospace": "No space left on device"}
"""What a mirror's io-status means."""
UNKNOWN = "nobody knows how it ended"
LOOK_S = 0.001
GUARD_LOOKS = 10
GREETING_S = 5.0
GREETING = b"NBDMAGIC"
"""The first word of an NBD server."""


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
        if _far(disk) in await self._nodes():
            return
        await _demand_greeting(address)
        host, _, port = address.rpartition(":")
        node: dict[str, Any] = {
            "driver": "nbd",
            "node_name": _far(disk),
            "server": {"type": "inet", "host": host, "port": port},
            "export": disk,
            "discard": "unmap",
        }
        if tls_creds:
            node["tls_creds"] = tls_creds
        await self._execute("blockdev-add", **node)

    async def progress(self, copies: Sequence[DiskCopy]) -> tuple[DiskProgress, bool]:
        """How far it is, and whether every disk has been copied once and follows. Raises Aborted when a mirror ended.

        One whose connection is gone tries again; it goes on where it was.
        """
        jobs = await self._going(copies)
        mine = [jobs[_job(copy.disk.id)] for copy in copies]
        failed = [copy for copy, job in zip(copies, mine, strict=True) if job["io-status"] == FAILED]
        for copy in failed:
            with contextlib.suppress(QemuRefused):  # It goes on by now.
                await self._execute("block-job-resume", device=_job(copy.disk.id))
        done = DiskProgress(sum(job["len"] for job in mine), sum(job["offset"] for job in mine))
        return done, not failed and all(job["ready"] for job in mine)

    async def tie(self, copies: Sequence[DiskCopy], within_s: float) -> None:
        """From here on a write of the guest is done when both copies have it. Raises Aborted, TimeoutError.

        Have `guard` run beside it, and for as long as they are tied.
        """
        jobs = await self._sound(copies)
        for copy in copies:
            if not jobs[_job(copy.disk.id)].get("actively-synced"):
                await self._execute("block-job-set-speed", device=_job(copy.disk.id), speed=0)
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

    async def guard(self, copies: Sequence[DiskCopy], waits_s: float) -> None:
        """Returns once writes of the guest have waited for the target so long with none done: it hung up on it.

        What a write to both sides is to do counts as the job's own length until it is done.
        """
        seen: list[tuple[int, int]] = []
        looks = 0  # Not the time: an agent that was frozen has seen nothing.
        while looks < GUARD_LOOKS:
            jobs = await self._jobs()
            mine = [job for copy in copies if (job := jobs.get(_job(copy.disk.id)))]
            # One that has lost the target lets the guest write without it.
            now = [(job["offset"], job["len"]) for job in mine if job["io-status"] != FAILED]
            waits = now == seen and any(offset < length for offset, length in now)
            seen, looks = now, looks + 1 if waits else 0
            await asyncio.sleep(waits_s / GUARD_LOOKS)
        await self.hang_up(copy.disk.id for copy in copies)

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
        return (await self._ends()).get(job, UNKNOWN)

    async def _ends(self) -> dict[str, str | None]:
        """The same of every job that is known."""
        jobs = await self._execute("query-jobs")
        return {
            job["id"]: str(job.get("error", "")) if job["status"] == "concluded" else None for job in jobs
        }

    async def _sound(self, copies: Sequence[DiskCopy]) -> dict[str, dict[str, Any]]:
        """The jobs as they go on. Raises Aborted where one does not."""
        jobs = await self._going(copies)
        for copy in copies:
            if jobs[_job(copy.disk.id)]["io-status"] == FAILED:
                raise _broken(copy.disk.path, ERRORS[FAILED])
        return jobs

    async def _going(self, copies: Sequence[DiskCopy]) -> dict[str, dict[str, Any]]:
        """The jobs; one whose connection is gone may go on again. Raises Aborted where one is over."""
        jobs, ends = await self._jobs(), await self._ends()
        for copy in copies:
            job = _job(copy.disk.id)
            if job not in jobs:
                raise _broken(copy.disk.path)
            ended, status = ends.get(job, UNKNOWN), jobs[job]["io-status"]
            if ended is None and status != FAILED:
                ended = ERRORS.get(status)
            if ended is not None:
                raise _broken(copy.disk.path, ended)
        return jobs

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        return {job["device"]: job for job in await self._execute("query-block-jobs")}

    async def _nodes(self) -> set[str]:
        return {node["node-name"] for node in await self._execute("query-named-block-nodes", flat=True)}


async def _demand_greeting(address: str) -> None:
    """QEMU connects with everything else standing, the guest with it, however long that takes. Raises Aborted."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(GREETING_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                greeting = await reader.read(len(GREETING))
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        why = str(error) or f"nothing was heard from there within {GREETING_S:.0f} s"
    else:
        if greeting == GREETING:
            return
        why = "who listens there speaks another language"
    raise Aborted(
        what="the copy of the disks was not begun",
        why=f"the target's storage at {address} does not answer: {why}",
        todo="Is there a firewall between the hosts? See docs/reference/ports.md, then try again.",
    )


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
