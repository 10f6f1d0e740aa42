"""One qemu-storage-daemon: lets another host write a guest's disks here before its QEMU may touch them.

It is a process of its own, so that a QEMU which fails and is made anew costs no disk its copy, and so that writes are
answered while QEMU's main loop loads the guest's devices.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.adapters.inlet import Inlet
from segue.adapters.process import end_process, kill_process, listener_pid, reap_when_it_ends
from segue.adapters.qemu.identity import Identity
from segue.adapters.qemu.machine import START_S, when_ready
from segue.adapters.qemu.monitor import Monitor, QemuGone
from segue.errors import Refused

BINARY = "qemu-storage-daemon"


@dataclass(frozen=True)
class DaemonPlaces:
    """Its files, in the guest's folder."""

    folder: Path

    @property
    def monitor(self) -> Path:
        """QMP socket."""
        return self.folder / "storage.sock"

    @property
    def address(self) -> Path:
        """Where it listens, host:port, for an agent that was restarted."""
        return self.folder / "storage.address"

    @property
    def log(self) -> Path:
        """Its own words."""
        return self.folder / "storage.log"


class StorageDaemon:
    """A running daemon, found or started."""

    def __init__(self, monitor: Monitor, pid: int, address: str) -> None:
        self.monitor = monitor
        self.pid = pid
        self.address = address
        self._ending: asyncio.Task[None] | None = None

    async def export(self, name: str, node: Mapping[str, Any], *, writable: bool) -> None:
        """Opens `node` (see blockdev-add) and offers it under `name`; one that is offered already is left alone."""
        if name in await self.exports():
            return
        if name not in await self._nodes():
            await self.monitor.execute("blockdev-add", **{**node, "node_name": name})
        await self.monitor.execute(
            "block-export-add", type="nbd", id=name, node_name=name, name=name, writable=writable
        )

    async def node(self, node: Mapping[str, Any]) -> None:
        """Opens a node (see blockdev-add); one of that name is left alone."""
        if node["node-name"] not in await self._nodes():
            await self.monitor.execute("blockdev-add", **node)

    async def exchange(self, options: Mapping[str, Any]) -> None:
        """Gives a node another child (see blockdev-reopen), under the eyes of those who read from it."""
        await self.monitor.execute("blockdev-reopen", options=[options])

    async def withdraw(self, name: str) -> None:
        """Offers it no more; when this returns the file is flushed and closed. Safe to repeat."""
        offered, held = await asyncio.gather(self.exports(), self._nodes())
        await self._withdraw(offered & {name}, held & {name})

    async def _withdraw(self, offered: set[str], held: set[str]) -> None:
        """Exports and nodes by name. Nothing is asked twice: a guest may stand meanwhile."""
        execute = self.monitor.execute
        await asyncio.gather(*(execute("block-export-del", id=name, mode="hard") for name in sorted(offered)))
        async with asyncio.timeout(START_S):
            while offered and offered & await self.exports():
                # Its event may have come before the command's answer.
                await asyncio.sleep(0.001)
        await asyncio.gather(*(execute("blockdev-del", node_name=name) for name in sorted(held)))

    async def exports(self) -> set[str]:
        """Names of what is offered."""
        return {entry["id"] for entry in await self.monitor.execute("query-block-exports")}

    async def _nodes(self) -> set[str]:
        return {node["node-name"] for node in await self.monitor.execute("query-named-block-nodes")}

    async def close(self) -> None:
        """Withdraws everything and ends the process. Raises QemuGone when it died before all was flushed.

        Nobody waits for the end of a process that holds nothing any more.
        """
        offered, held = await asyncio.gather(self.exports(), self._nodes())
        await self._withdraw(offered, {name for name in held if not name.startswith("#")})
        kill_process(self.pid)
        self._ending = asyncio.create_task(self.end())

    async def end(self) -> None:
        """Ends the process as it is."""
        await end_process(self.pid)
        await self.monitor.close()


async def attach(places: DaemonPlaces) -> StorageDaemon | None:
    """The daemon that runs there, or None."""
    try:
        return await _connect(places)
    except QemuGone:
        return None


async def _connect(places: DaemonPlaces) -> StorageDaemon:
    pid = listener_pid(places.monitor)
    if pid is None:
        raise QemuGone(f"no storage daemon listens at {places.monitor}")
    monitor = Monitor("storage", places.monitor)
    await monitor.connect()
    return StorageDaemon(monitor, pid, places.address.read_text())


async def launch(
    places: DaemonPlaces,
    inlet: Inlet,
    owner: Identity,
    credentials: Mapping[str, Any] | None,
    port: int = 0,
) -> StorageDaemon:
    """Starts one that listens at `port`, or at any of `inlet`. Raises OSError, and Refused with its words.

    credentials: its object with the migration's key; None for a plain channel.
    """
    places.monitor.unlink(missing_ok=True)
    with inlet.listen(port) as server:
        address = f"{inlet.address}:{server.getsockname()[1]}"
        places.address.write_text(address)
        argv = _arguments(places, server.fileno(), credentials)
        with places.log.open("ab") as log:
            process = subprocess.Popen(
                ["nice", "-n", str(-os.nice(0)), *owner.prefix(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(server.fileno(),),
                start_new_session=True,
                cwd=places.folder,
            )
    reap_when_it_ends(process)
    try:
        return await when_ready(lambda: _connect(places), process)
    except QemuGone as error:
        words = places.log.read_text(errors="replace").strip().splitlines()
        raise Refused(
            what="cannot take in the guest's disks",
            why=words[-1] if words else str(error),
            todo=f"Mend what qemu-storage-daemon says (all of it is in {places.log} on this host), then try again.",
        ) from error


def _arguments(places: DaemonPlaces, fd: int, credentials: Mapping[str, Any] | None) -> list[str]:
    server = {"addr": {"type": "fd", "str": str(fd)}, "max-connections": 0}
    objects: list[str] = []
    if credentials is not None:
        objects = ["--object", json.dumps(dict(credentials))]
        server["tls-creds"] = str(credentials["id"])
    return [
        BINARY,
        *("--chardev", f"socket,id=mon0,path={places.monitor},server=on,wait=off"),
        *("--monitor", "chardev=mon0"),
        *objects,
        *("--nbd-server", json.dumps(server)),
    ]
