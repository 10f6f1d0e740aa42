"""Watch a service as its clients do: start here. It reports what it saw and judges nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from segue.errors import Kind, Refused
from segue.model.observation import Gap, Observation
from segue.traffic import ledger, speakers, target, udp
from segue.traffic.exchange import Exchange
from segue.traffic.session import Session, Worker

CONNECTIONS_MAX: Final = 256
SIZE_MAX: Final = 1 << 20
RATE_MAX: Final = 20_000.0
"""Packets per second; above it the probe's own process is the limit, not what it looks at."""


class Protocol(StrEnum):
    """What the probe speaks."""

    UDP = "udp"
    TCP = "tcp"
    HTTP = "http"
    REDIS = "redis"


@dataclass(frozen=True)
class Wish:
    """What to watch and how; `target` is HOST:PORT, or a URL for http."""

    protocol: Protocol
    target: str
    rate_per_s: float = 1000.0
    size_bytes: int = 200
    interval_s: float = 0.01
    connections: int = 1
    duration_s: float | None = None
    first_reply_s: float = 5.0
    timeout_s: float = 10.0
    drain_s: float = 2.0
    gap_s: float = 0.1
    worst: int = 20


async def run_probe(
    wish: Wish,
    stop: asyncio.Event,
    *,
    on_heard: Callable[[], None] = lambda: None,
    on_gap: Callable[[Gap], None] = lambda gap: None,
) -> Observation:
    """Watch until `stop` is set or the duration is over, and say what was seen.

    on_heard: called once, at the first right reply. on_gap: at the end of each gap longer than `gap_s`.
    Raises Refused when the target is unknown or nothing right is heard from it within `first_reply_s`.
    """
    _check(wish)
    address, tls_name = await target.resolve(wish.target, is_url=wish.protocol is Protocol.HTTP)
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()

    def note_heard() -> None:
        loop.call_soon_threadsafe(heard.set)
        loop.call_soon_threadsafe(on_heard)

    def note_gap(gap: Gap) -> None:
        loop.call_soon_threadsafe(on_gap, gap)

    session = Session(
        gap_s=wish.gap_s, drain_s=wish.drain_s, worst=wish.worst, on_heard=note_heard, on_gap=note_gap
    )
    workers = _workers(wish, session, address, tls_name)
    started_s = session.clock.now_s()
    pool = ThreadPoolExecutor(len(workers), thread_name_prefix="probe")
    running = [loop.run_in_executor(pool, worker.run) for worker in workers]
    try:
        await _until_over(wish, session, running, heard, stop)
        session.stop()
        await asyncio.gather(*running)
        ended_s = session.clock.now_s()
        if not session.heard.is_set():
            raise _silent(wish, workers, ended_s - started_s)
    finally:
        session.abandon()
        pool.shutdown(wait=False)
    books = [worker.ledger for worker in workers]
    return ledger.observation(wish.protocol.value, wish.target, started_s, ended_s, books, wish.worst)


async def _until_over(
    wish: Wish,
    session: Session,
    running: list[asyncio.Future[None]],
    heard: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Returns when the probe is to stop. A thread that ended before has its reason in its future."""
    now = asyncio.get_running_loop().time
    over_s = now() + (math.inf if wish.duration_s is None else wish.duration_s)
    stopped = asyncio.ensure_future(stop.wait())
    first = asyncio.ensure_future(heard.wait())
    try:
        in_time = await _first_of([stopped, first, *running], min(wish.first_reply_s, over_s - now()))
        if heard.is_set():
            await _first_of([stopped, *running], over_s - now())
        elif not in_time and now() < over_s:
            session.abandon()
    finally:
        for task in (stopped, first):
            task.cancel()


async def _first_of(futures: list[asyncio.Future[None] | asyncio.Task[bool]], within_s: float) -> bool:
    """Whether one of them was over in time."""
    timeout = None if within_s == math.inf else within_s
    done, _ = await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def _workers(wish: Wish, session: Session, address: tuple[str, int], tls_name: str) -> list[Worker]:
    if wish.protocol is Protocol.UDP:
        return [udp.UdpProbe(session, address, wish.target, wish.rate_per_s, wish.size_bytes)]
    return [
        Exchange(
            session,
            _speaker(wish),
            address,
            wish.target,
            tls_name=tls_name,
            interval_s=wish.interval_s,
            timeout_s=wish.timeout_s,
        )
        for _ in range(wish.connections)
    ]


def _speaker(wish: Wish) -> speakers.Speaker:
    if wish.protocol is Protocol.HTTP:
        return speakers.HttpGet(wish.target)
    if wish.protocol is Protocol.REDIS:
        return speakers.RedisSet()
    return speakers.TcpEcho(wish.size_bytes)


def _silent(wish: Wish, workers: list[Worker], watched_s: float) -> Refused:
    excuses = dict.fromkeys(worker.excuse for worker in workers if worker.excuse)
    return Refused(
        what=f"cannot probe {wish.target}",
        why="; ".join(excuses) or f"no reply came in {watched_s:.1f} s",
        todo=f"Check that the guest runs and that a {wish.protocol} service answers at this address.",
        kind=Kind.UNREACHABLE,
    )


def _check(wish: Wish) -> None:
    """Raises Refused for what no probe can do."""
    least = udp.SIZE_MIN if wish.protocol is Protocol.UDP else speakers.TcpEcho.size_min
    most = udp.SIZE_MAX if wish.protocol is Protocol.UDP else SIZE_MAX
    _within("rate", wish.rate_per_s, 0.1, RATE_MAX)
    _within("size", wish.size_bytes, least, most)
    _within("interval", wish.interval_s, 0.0, 3600.0)
    _within("number of connections", wish.connections, 1, CONNECTIONS_MAX)
    _within("number of gaps", wish.worst, 1, 1000)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise Refused(
            what=f"cannot probe with a {name} of {value:g}",
            why=f"it has to lie between {least:g} and {most:g}",
            todo=f"Choose a {name} in between.",
            kind=Kind.USAGE,
        )
