"""Plain QEMU as a peer: two QEMUs with segue's own arguments, moved over QMP by the shortest way that there is."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import hosted
from bench.events import Seen
from bench.moves import DEADLINE_S, Move, stayed
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.monitor import Monitor, QemuGone
from segue.lab import layers, nodes
from segue.lab.api import Lab
from segue.model.guest import Guest

PYTHON: Final = ["env", f"PYTHONPATH=/{layers.APP}:/{layers.SITE}", "/usr/bin/python3", "-P", "-"]
END_S: Final = 30.0
FREE_SPEED: Final = 1 << 50
"""QEMU's own cap is 128 MiB/s; this is no cap."""
DEFAULT_SPEED: Final = 128 << 20
DEFAULT_LIMIT_MS: Final = 300


@dataclass(frozen=True)
class Variant:
    """How a plain QEMU is told to move. `safe`: the target waits (-S) and is continued once the source has said
    `completed`; `defaults`: what HMP's `migrate` does where nothing is set."""

    name: str
    downtime_limit_ms: int = DEFAULT_LIMIT_MS
    safe: bool = False
    multifd: bool = False
    defaults: bool = False

    @property
    def capabilities(self) -> dict[str, bool]:
        """The capabilities of both ends; all that another variant may have left on is named, too."""
        return {"events": True, "return-path": not self.defaults, "multifd": self.multifd}


class PlainGuest:
    """The guest that all plain variants move."""

    def __init__(self, lab: Lab, guest: Guest, host: str) -> None:
        self.lab = lab
        self.guest = guest
        self.host = host
        self.start(host, incoming=False, autostart=True)

    @property
    def address(self) -> str:
        """Where a client reaches it."""
        return self.guest.nics[0].address.partition("/")[0]

    def start(self, host: str, *, incoming: bool, autostart: bool) -> dict[str, Any]:
        """A QEMU on `host`: its process number there and its nice level."""
        order = {"do": "start", "guest": self.guest, "incoming": incoming, "autostart": autostart}
        answer: dict[str, Any] = json.loads(self._run(host, order))
        return answer

    def clear(self, host: str) -> None:
        """What an ended QEMU left on `host`."""
        self._run(host, {"do": "clear"})

    def monitor(self, host: str) -> Monitor:
        """QMP of the QEMU on `host`, through the folder that host and machine share."""
        folder = self.lab.agent_socket(host).parent / hosted.FOLDER.name
        return Monitor(f"plain on {host}", Places(folder).monitor)

    def _run(self, host: str, order: dict[str, Any]) -> str:
        argv = [*PYTHON, msgspec.json.encode(order).decode()]
        done = self.lab.exec(host, argv, input=Path(hosted.__file__).read_text())
        if done.returncode:
            raise RuntimeError(f"plain QEMU on {host}: {done.stderr}{done.stdout}")
        return done.stdout


class Plain:
    """One variant."""

    def __init__(self, guest: PlainGuest, variant: Variant) -> None:
        self.name = variant.name
        self._guest = guest
        self._variant = variant

    @property
    def guest_name(self) -> str:
        """See bench/moves.py."""
        return self._guest.guest.name

    @property
    def address(self) -> str:
        """See bench/moves.py."""
        return self._guest.address

    @property
    def host(self) -> str:
        """See bench/moves.py."""
        return self._guest.host

    def move(self, to: str) -> Move:
        """See bench/moves.py."""
        begun_s = time.time()
        self._guest.start(to, incoming=True, autostart=not self._variant.safe)
        move = asyncio.run(self._move(to, begun_s))
        self._guest.clear(self._guest.host if move.moved else to)
        if move.moved:
            self._guest.host = to
        return move

    async def _move(self, to: str, begun_s: float) -> Move:
        source, target = self._guest.monitor(self._guest.host), self._guest.monitor(to)
        await source.connect()
        await target.connect()
        seen = Seen(source, target)
        place = await prepare(source, target, nodes.parse(to).address, self._variant)
        await source.execute("migrate", channels=[channel(place["host"], place["port"])])
        try:
            await source.until(lambda: seen.ended, within_s=DEADLINE_S)
        except TimeoutError:
            return await _give_up(source, target, begun_s)
        if seen.status != "completed":
            raise RuntimeError(f"plain QEMU did not move: {await source.execute('query-migrate')}")
        if self._variant.safe:
            await target.execute("cont")
        await target.until(lambda: seen.resumed_at_s > 0, within_s=END_S)
        return await finish(source, target, seen, begun_s)


async def prepare(source: Monitor, target: Monitor, there: str, variant: Variant) -> dict[str, str]:
    """Sets both ends up; where the target listens."""
    wanted = [{"capability": name, "state": state} for name, state in variant.capabilities.items()]
    for monitor in (source, target):
        await monitor.execute("migrate-set-capabilities", capabilities=wanted)
    await source.execute(
        "migrate-set-parameters",
        downtime_limit=variant.downtime_limit_ms,
        max_bandwidth=DEFAULT_SPEED if variant.defaults else FREE_SPEED,
    )
    await target.execute("migrate-incoming", channels=[channel(there, "0")])
    info = await target.execute("query-migrate")
    place: dict[str, str] = info["socket-address"][0]
    return place


async def finish(source: Monitor, target: Monitor, seen: Seen, begun_s: float) -> Move:
    """What is told of a guest that moved; its source's QEMU goes."""
    ended_s = time.time()
    info = await source.execute("query-migrate")
    ram = info["ram"]
    await quit_qemu(source)
    await target.close()
    details = {
        "rounds": ram["dirty-sync-count"],
        "transferred_bytes": ram["transferred"],
        "downtime_bytes": ram.get("downtime-bytes", 0),
        "link_bytes_per_s": ram["mbps"] * 125_000,
        "marks": seen.marks,
    }
    return Move(begun_s, seen.stopped_at_s, seen.resumed_at_s, ended_s, details)


async def _give_up(source: Monitor, target: Monitor, begun_s: float) -> Move:
    """The guest stays; the target's empty copy goes."""
    await source.execute("migrate_cancel")
    await quit_qemu(target)
    await source.close()
    return stayed(begun_s, time.time(), f"not converged within {DEADLINE_S:.0f} s")


async def quit_qemu(monitor: Monitor) -> None:
    """Ends a QEMU and waits for it; one that has ended by itself is what was wanted."""
    try:
        await monitor.execute("quit")
    except QemuGone:
        return
    async with asyncio.timeout(END_S):
        await monitor.gone.wait()


def channel(host: str, port: str) -> dict[str, Any]:
    """An address as QMP wants it."""
    return {
        "channel-type": "main",
        "addr": {"transport": "socket", "type": "inet", "host": host, "port": port},
    }
