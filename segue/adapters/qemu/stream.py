"""Fills a running guest's disks from where they came from: one stream job of QEMU for each disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from segue.adapters.qemu.command import origin_of
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuRefused
from segue.model.storage import DiskProgress


class DiskStreams:
    """All streams of one guest. Every method may be called twice."""

    def __init__(self, machine: Machine) -> None:
        self._execute = machine.monitor.execute

    async def begin(self, disk: str) -> None:
        """Starts to copy what the disk lacks; a stream that runs is left alone, one that broke begins again."""
        if _job(disk) not in await self._jobs() and origin_of(disk) in await self._nodes():
            # What cannot be read yet is waited for: the connection comes back, or the guest stands with it.
            await self._execute("block-stream", job_id=_job(disk), device=disk, on_error="stop")

    async def done(self, disk: str) -> bool:
        """True once nothing of the disk comes from elsewhere any more; the connection is closed then."""
        if _job(disk) in await self._jobs():
            return False
        nodes = await self._nodes()
        if origin_of(disk) not in nodes:
            return True
        if nodes[disk].get("backing_file_depth", 1):
            return False
        with contextlib.suppress(QemuRefused):  # In use: the stream has ended in error, and begins again.
            await self._execute("blockdev-del", node_name=origin_of(disk))
            return True
        return False

    async def progress(self, disks: Iterable[str]) -> DiskProgress:
        """How far the streams that run are."""
        jobs = await self._jobs()
        mine = [jobs[_job(disk)] for disk in disks if _job(disk) in jobs]
        return DiskProgress(sum(job["len"] for job in mine), sum(job["offset"] for job in mine))

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        return {job["device"]: job for job in await self._execute("query-block-jobs")}

    async def _nodes(self) -> dict[str, dict[str, Any]]:
        return {node["node-name"]: node for node in await self._execute("query-named-block-nodes")}


def _job(disk: str) -> str:
    return f"stream-{disk}"
