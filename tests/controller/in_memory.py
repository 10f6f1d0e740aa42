"""A controller without API, agents and network, on a store in memory: for what it writes, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from segue.adapters.clock import RealClock
from segue.adapters.metrics import Meter
from segue.controller.app import Controller
from segue.controller.bars import Bars
from segue.controller.books import Books
from segue.controller.limits import Limits
from segue.controller.links import Links
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.traces import Traces
from segue.engine.leadership import Candidate
from segue.model.metrics import CONTROLLER
from segue.sim.store import MemoryStore, Shelf


def controller(shelf: Shelf, name: str) -> Controller:
    store = MemoryStore(shelf)
    mirror, candidate = Mirror(store), Candidate(store, RealClock(), name)
    nothing, books, loads = cast(Any, None), Books(store, mirror), Loads()
    bars = Bars(mirror, books, nothing, b"")
    return Controller(
        name=name, store=store, mirror=mirror, books=books, links=Links(mirror, candidate.demand, bars, loads),
        loads=loads, candidate=candidate, authority=nothing, ca_pem=b"", own=nothing, bars=bars,
        limits=Limits(), certificate_s=0.0, meter=Meter(CONTROLLER), traces=Traces(None),
    )  # fmt: skip


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
