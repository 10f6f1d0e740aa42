"""Lends the disks of a guest that left in a hurry to the host where it runs now, until that host has pulled them.

The target's QEMU connects before the guest moves, to a stand-in of the same size; when the guest stands and its QEMU
here has let go of the file, the stand-in is exchanged for the disk. No connection is made in the blackout.
"""

from __future__ import annotations

from typing import Any

from segue.agent.daemons import Daemons
from segue.model.guest import Guest
from segue.model.storage import DiskCopy


class Outlet:
    """One guest's disks. Every method may be called twice."""

    def __init__(self, daemons: Daemons, guest: Guest, migration: str) -> None:
        self._daemons = daemons
        self._guest = guest
        self._migration = migration

    async def offer(self, copies: tuple[DiskCopy, ...], port: int = 0) -> str:
        """Stand-ins for the disks; where, as host:port. `port`: the one that was told before, 0 for a new one."""
        found = await self._daemons.need(self._guest, self._migration, port)
        for copy in copies:
            size = copy.disk.size_bytes
            await found.node({"driver": "null-co", "node-name": _stand_in(copy), "size": size})
            node = {"driver": "raw", "file": _stand_in(copy), "read-only": True}
            await found.export(copy.disk.id, node, writable=False)
        return found.address

    async def lend(self, copies: tuple[DiskCopy, ...]) -> None:
        """The disks themselves: the guest's QEMU here must have let go of them."""
        found = await self._daemons.need(self._guest, self._migration)
        for copy in copies:
            await found.node(_real(copy))
            await found.exchange(
                {"driver": "raw", "node-name": copy.disk.id, "file": _name(copy), "read-only": True}
            )

    async def mend(self, copies: tuple[DiskCopy, ...], address: str) -> None:
        """A daemon that died, or went with the host, is started again where the target looks for it, with stand-ins."""
        if await self._daemons.find(self._guest) is None:
            await self.offer(copies, int(address.rpartition(":")[2]))

    async def close(self) -> None:
        """Nothing is lent any more."""
        await self._daemons.end(self._guest)


def _stand_in(copy: DiskCopy) -> str:
    return f"{copy.disk.id}-none"


def _name(copy: DiskCopy) -> str:
    return f"{copy.disk.id}-real"


def _real(copy: DiskCopy) -> dict[str, Any]:
    file = {"driver": "file", "filename": copy.disk.path, "read-only": True, "cache": {"direct": True}}
    return {"driver": copy.disk.format, "node-name": _name(copy), "read-only": True, "file": file}
