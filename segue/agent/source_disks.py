"""The source's half of the disks: what has to be copied, the mirrors, and what stays here for a while."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from segue.adapters import clock, system
from segue.adapters.peer import PeerClient
from segue.adapters.qemu.credentials import Endpoint
from segue.adapters.qemu.mirror import DiskMirror
from segue.adapters.storage import files, image
from segue.adapters.store.disks import KeptDisk
from segue.agent import verification
from segue.agent.intake import export_of
from segue.agent.keeper import Keeper
from segue.agent.outlet import Outlet
from segue.agent.services import Services
from segue.errors import Aborted
from segue.model.guest import Guest
from segue.model.integrity import Digests
from segue.model.storage import DiskCopy, DiskProgress, Sight
from segue.policy import storage
from segue.policy.storage import Plan
from segue.wire import offer
from segue.wire.offer import Feature

log = structlog.get_logger()


async def survey(guest: Guest, peer: PeerClient, version: int, *, pull: bool, common: str) -> Plan:
    """Which disks the peer shares with us, which have to be copied, and what stands in the way.

    Agents that speak version 1 say of each file one mark; where it is ours, they see the very same file.
    """
    if not guest.disks:
        return Plan()
    disks = tuple([await image.describe(disk) for disk in guest.disks])
    paths = [disk.path for disk in disks]
    here = {path: files.look(path, "", whole=False) for path in paths}
    below = {layer.path: layer for disk in disks for layer in disk.layers}
    layers = sorted(below)
    if not offer.knows(Feature.LOCAL_DISKS, version):
        there = await _as_older_agents_see(peer, [*paths, *layers], here)
        known = {
            path: replace(there[path], digest=below[path].digest) for path in layers if there[path].marked
        }
        return storage.plan(disks, here, {**there, **known})
    with files.marks(paths) as marker:
        there = await peer.look(marker, paths, layers)
    return storage.plan(disks, here, there, pull=pull, common=common)


async def _as_older_agents_see(
    peer: PeerClient, paths: list[str], here: dict[str, Sight]
) -> dict[str, Sight]:
    marks = await peer.sees_storage(paths)
    same = {path for path in paths if marks.get(path) and marks[path] == system.storage_mark(path)}
    return {
        path: Sight(
            marked=path in same,
            exists=bool(marks.get(path)),
            inode=here[path].inode if path in here else 0,
            folder=path in same,
        )
        for path in paths
    }


class SourceDisks:
    """Engine port `Disks`."""

    def __init__(self, services: Services, keeper: Keeper, copies: tuple[DiskCopy, ...]) -> None:
        self._services = services
        self._keeper = keeper
        self._copies = copies
        self._guard: asyncio.Task[None] | None = None
        self._waits_s = 0.0

    async def offer(self) -> str:
        """See engine/ports.py."""
        return await self._outlet().offer(self._copies)

    async def lend(self, address: str) -> None:
        """See engine/ports.py."""
        outlet = self._outlet()
        await outlet.mend(self._copies, address)
        await outlet.lend(self._copies)

    def _outlet(self) -> Outlet:
        services, keeper = self._services, self._keeper
        return Outlet(services.daemons, keeper.guest_here(), keeper.token.migration)

    async def send_layers(self, address: str) -> None:
        """See engine/ports.py."""
        keeper, host = self._keeper, address.rpartition(":")
        creds = self._services.protection.credentials(keeper.guest_here(), keeper.token.migration)
        key = creds.properties(Endpoint.CLIENT) if creds is not None else None
        server = {"type": "inet", "host": host[0], "port": host[2]}
        layers = {layer.path: layer for copy in self._copies for layer in copy.missing}
        for layer in layers.values():
            await image.send(layer.path, server, export_of(layer), key)

    async def begin(self, address: str, bytes_per_s: int) -> None:
        """See engine/ports.py."""
        machine, keeper = self._keeper.machine, self._keeper
        assert machine is not None
        guest, migration = keeper.guest_here(), keeper.token.migration
        creds = await self._services.protection.offer(machine.monitor, guest, migration, Endpoint.CLIENT)
        await DiskMirror(machine).begin(self._copies, address, creds, bytes_per_s)

    async def progress(self) -> tuple[DiskProgress, bool]:
        """See engine/ports.py."""
        return await self._mirror().progress(self._copies)

    async def tie(self, within_s: float, waits_s: float) -> None:
        """See engine/ports.py."""
        mirror = self._mirror()
        await self._unguard()
        self._waits_s = waits_s
        self._guard = asyncio.create_task(mirror.guard(self._copies, waits_s))
        tying = asyncio.create_task(mirror.tie(self._copies, within_s))
        try:
            await asyncio.wait({self._guard, tying}, return_when=asyncio.FIRST_COMPLETED)
            self._mirror()  # Raises where the guard was first.
            await tying
        finally:
            tying.cancel()

    async def _unguard(self) -> None:
        """Nothing waits for the target any more."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.cancel()
            await asyncio.gather(guard, return_exceptions=True)

    async def cut(self) -> None:
        """See engine/ports.py."""
        mirror = self._mirror()
        await self._unguard()
        await mirror.cut(self._copies)

    async def digest(self) -> dict[str, Digests]:
        """See engine/ports.py."""
        return await verification.digest_disks(copy.disk for copy in self._copies)

    async def hang_up(self) -> None:
        """See engine/ports.py."""
        await self._unguard()
        machine = self._keeper.machine
        if machine is not None and machine.alive():
            await DiskMirror(machine).hang_up(copy.disk.id for copy in self._copies)

    async def stop(self) -> None:
        """See engine/ports.py."""
        await self._unguard()
        machine = self._keeper.machine
        if machine is not None and machine.alive() and self._copies:
            await DiskMirror(machine).stop(copy.disk.id for copy in self._copies)
        if self._copies and self._keeper.guest is not None:
            await self._outlet().close()

    def keep(self) -> None:
        """See engine/ports.py."""
        guest, epoch = self._keeper.guest, self._keeper.token.epoch
        until_s = clock.wall_s() + self._services.config.keep_disks_s
        for copy in self._copies:
            was = Path(copy.disk.path)
            now = was.with_name(f"{was.name}.moved-{epoch}")
            name = guest.name if guest is not None else ""
            if was.exists() and not now.exists():
                self._services.journal.disks.keep(KeptDisk(str(now), str(was), name, until_s))
                was.rename(now)
                log.info("a disk that was left behind is kept", path=str(now), until_s=until_s)

    def _mirror(self) -> DiskMirror:
        machine = self._keeper.machine
        if machine is None or not machine.alive():
            raise Aborted(
                what="the guest's disks are not copied any more",
                why="it ended on the source while they were copied",
                todo="Look why it ended with `segue vm show`, and start it again.",
            )
        if self._guard is not None and self._guard.done():
            raise Aborted(
                what="the copy of the disks was given up",
                why=f"what the guest wrote waited {self._waits_s:g} s for the target to have it, too; it goes on alone",
                todo="Look at the link between the hosts and at the target's storage, then try again.",
            )
        return DiskMirror(machine)
