"""Plain QEMU as a peer: two QEMUs with segue's own arguments, moved over QMP by the shortest way that there is."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import hosted
from bench.moves import Move
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.monitor import Event, Monitor
from segue.lab import layers, nodes
from segue.lab.api import Lab
from segue.model.guest import Guest

PYTHON: Final = ["env", f"PYTHONPATH=/{layers.APP}:/{layers.SITE}", "/usr/bin/python3", "-P", "-"]
MOVE_S: Final = 120.0
FREE_SPEED: Final = 1 << 50
"""QEMU's own cap is 128 MiB/s; this is no cap."""


class PlainGuest:
    """The guest that all plain variants move; what `start` notes is kept for the report."""

    def __init__(self, lab: Lab, guest: Guest, host: str) -> None:
        self.lab = lab
        self.guest = guest
        self.host = host
        self.started = self.start(host, incoming=False, autostart=True)

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

    def guest_as_data(self) -> dict[str, Any]:
        """The guest as the report shows it."""
        data: dict[str, Any] = msgspec.to_builtins(self.guest)
        return data

    def _run(self, host: str, order: dict[str, Any]) -> str:
        argv = [*PYTHON, msgspec.json.encode(order).decode()]
        done = self.lab.exec(host, argv, input=Path(hosted.__file__).read_text())
        if done.returncode:
            raise RuntimeError(f"plain QEMU on {host}: {done.stderr}{done.stdout}")
        return done.stdout


class Plain:
    """One variant. `safe`: the target waits (-S) and is continued once the source has said `completed`."""

    def __init__(self, guest: PlainGuest, name: str, downtime_limit_ms: int, *, safe: bool) -> None:
        self.name = name
        self._guest = guest
        self._downtime_limit_ms = downtime_limit_ms
        self._safe = safe

    @property
    def address(self) -> str:
        """See bench/moves.py."""
        return self._guest.guest.nics[0].address.partition("/")[0]

    @property
    def host(self) -> str:
        """See bench/moves.py."""
        return self._guest.host

    def move(self, to: str) -> Move:
        """See bench/moves.py."""
        begun_s = time.time()
        self._guest.start(to, incoming=True, autostart=not self._safe)
        move = asyncio.run(self._move(to, begun_s))
        self._guest.clear(self._guest.host)
        self._guest.host = to
        return move

    async def _move(self, to: str, begun_s: float) -> Move:
        source, target = self._guest.monitor(self._guest.host), self._guest.monitor(to)
        await source.connect()
        await target.connect()
        seen = Seen(source, target)
        await self._set_up(source, target, nodes.parse(to).address)
        info = await target.execute("query-migrate")
        place = info["socket-address"][0]
        await source.execute("migrate", channels=[_channel(place["host"], place["port"])])
        await source.until(lambda: seen.status in {"completed", "failed"}, within_s=MOVE_S)
        if seen.status != "completed":
            raise RuntimeError(f"plain QEMU did not move: {await source.execute('query-migrate')}")
        if self._safe:
            await target.execute("cont")
        await target.until(lambda: seen.resumed_at_s > 0, within_s=MOVE_S)
        ended_s = time.time()
        ram = (await source.execute("query-migrate"))["ram"]
        await source.execute("quit")
        await source.gone.wait()
        await target.close()
        details = {"rounds": ram["dirty-sync-count"], "transferred_bytes": ram["transferred"]}
        return Move(begun_s, seen.stopped_at_s, seen.resumed_at_s, ended_s, details)

    async def _set_up(self, source: Monitor, target: Monitor, there: str) -> None:
        """The best settings: acknowledged completion, no cap, the shortest downtime; QEMU announces by itself."""
        wanted = [{"capability": name, "state": True} for name in ("events", "return-path")]
        for monitor in (source, target):
            await monitor.execute("migrate-set-capabilities", capabilities=wanted)
        await source.execute(
            "migrate-set-parameters", downtime_limit=self._downtime_limit_ms, max_bandwidth=FREE_SPEED
        )
        await target.execute("migrate-incoming", channels=[_channel(there, "0")])


class Seen:
    """What the two QEMUs said, by their own time stamps."""

    def __init__(self, source: Monitor, target: Monitor) -> None:
        self.status = ""
        self.stopped_at_s = self.resumed_at_s = 0.0
        source.on_event(self._at_source)
        target.on_event(self._at_target)

    def _at_source(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self.status = str(event["data"]["status"])
        elif event["event"] == "STOP":
            self.stopped_at_s = _stamp_s(event)

    def _at_target(self, event: Event) -> None:
        if event["event"] == "RESUME":
            self.resumed_at_s = _stamp_s(event)


def _stamp_s(event: Event) -> float:
    stamp = event["timestamp"]
    return float(stamp["seconds"]) + float(stamp["microseconds"]) / 1e6


def _channel(host: str, port: str) -> dict[str, Any]:
    return {
        "channel-type": "main",
        "addr": {"transport": "socket", "type": "inet", "host": host, "port": port},
    }
