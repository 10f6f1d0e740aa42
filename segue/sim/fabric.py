"""The network between simulated hosts: messages take time, overtake each other, and meet links that are cut.

It knows addresses and processes, never what a message says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from segue.model.fencing import Sight
from segue.sim import loop as virtual
from segue.sim.loop import Life, Process
from segue.sim.world import World

T = TypeVar("T")

DELAY_S: Final = 0.0002
DEAF_S: Final = 5.0
"""As TCP_USER_TIMEOUT in adapters/peer.py: so long is sent again over a link that is cut."""
AGAIN_S: Final = 0.5


class Node(Protocol):
    """Whatever has an address."""

    @property
    def name(self) -> str:
        """Its address."""
        ...

    @property
    def powered(self) -> bool:
        """False for a machine without power: nothing at all answers."""
        ...

    @property
    def process(self) -> Process | None:
        """Who listens there; None or dead: a machine that refuses connections."""
        ...


@dataclass
class Fabric:
    """All links. `late`: the share of messages that are held up for seconds."""

    world: World
    nodes: dict[str, Node] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    """(from, to); each way by itself."""
    late: float = 0.0
    late_s: float = 4.0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    troubled_s: dict[str, float] = field(default_factory=dict)
    """Node -> when something last changed about its links."""

    def __post_init__(self) -> None:
        self._chance = self.world.stream("fabric")

    def sever(self, ways: set[tuple[str, str]]) -> Callable[[], None]:
        """Nothing gets through on these; what is returned joins them again."""
        self.cut |= ways
        self._note(ways)

        def join() -> None:
            self._note(ways)
            self.cut -= ways

        return join

    def between(self, one: Iterable[str], other: Iterable[str]) -> set[tuple[str, str]]:
        """All ways from the one side to the other, and back."""
        there = list(other)
        return {way for a in one for b in there if a != b for way in ((a, b), (b, a))}

    def whole_s(self, name: str) -> float:
        """Seconds for which everything has got through from there and to there."""
        now_s = self.world.loop.time()
        is_cut = self.late or any(name in way for way in self.cut)
        return 0.0 if is_cut else now_s - self.troubled_s.get(name, 0.0)

    def note(self, name: str) -> None:
        """Something about it changed now."""
        self.troubled_s[name] = self.world.loop.time()

    def _note(self, ways: set[tuple[str, str]]) -> None:
        for name in {end for way in ways for end in way}:
            self.note(name)

    async def look(self, source: str, url: str, within_s: float) -> Sight:
        """As adapters/sight.py: whether the kernel at that address answers."""
        address = urlsplit(url).hostname
        name = next((one.name for one in self.world.hosts.values() if one.address == address), "")
        took_s = self.delay_s() + self.delay_s()
        if self.joins(source, name) and self.joins(name, source) and took_s < within_s:
            await asyncio.sleep(took_s)
            return Sight.ANSWERS
        await asyncio.sleep(within_s)
        return Sight.SILENT

    def joins(self, source: str, target: str) -> bool:
        """True while something sent from there arrives here."""
        here, there = self.nodes.get(source), self.nodes.get(target)
        up = here is not None and there is not None and here.powered and there.powered
        return up and (source, target) not in self.cut

    def delay_s(self) -> float:
        """Of one message."""
        jitter = self._chance.expovariate(1 / DELAY_S)
        held_up = self.late and self._chance.random() < self.late
        return DELAY_S + jitter + (self._chance.uniform(0.1, self.late_s) if held_up else 0.0)

    def post(self, source: str, target: str, arrive: Callable[[], None], lost: Callable[[], None]) -> None:
        """Sends it: `arrive` is called there, or `lost` when it never will be."""
        virtual.demand_alive()
        until_s = self.world.loop.time() + DEAF_S

        def try_it() -> None:
            if self.joins(source, target):
                arrive()
            elif self.world.loop.time() >= until_s:
                lost()
            else:
                self.world.loop.call_later(AGAIN_S, try_it, context=OUTSIDE.context)

        self.world.loop.call_later(self.delay_s(), try_it, context=OUTSIDE.context)

    async def ask(self, source: str, target: str, serve: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Has `serve` run in the process that listens there. Raises ConnectionError; the limit is the caller's."""
        answer: asyncio.Future[T] = self.world.loop.create_future()

        def failed(why: str) -> None:
            if not answer.done():
                answer.set_exception(ConnectionError(f"{target} does not answer: {why}"))

        def arrive() -> None:
            process = self.nodes[target].process
            if process is None or process.life is Life.DEAD:
                self._back(target, source, lambda: failed("connection refused"))
                return
            task = process.start(self.world.loop, serve())
            self.tasks.add(task)
            task.add_done_callback(lambda ended: self._answered(target, source, ended, answer, failed))

        self.post(source, target, arrive, lambda: failed("timed out"))
        watch = self.world.loop.call_later(AGAIN_S, self._watch, target, answer, failed)
        try:
            return await answer
        finally:
            watch.cancel()

    def _watch(self, target: str, answer: asyncio.Future[Any], failed: Callable[[str], None]) -> None:
        """The kernel of a machine whose program died says so to all who wait for it."""
        process = self.nodes[target].process
        if answer.done():
            return
        if self.nodes[target].powered and (process is None or process.life is Life.DEAD):
            failed("connection reset")
        else:
            self.world.loop.call_later(AGAIN_S, self._watch, target, answer, failed)

    def _answered(
        self,
        target: str,
        source: str,
        ended: asyncio.Task[T],
        answer: asyncio.Future[T],
        failed: Callable[[str], None],
    ) -> None:
        self.tasks.discard(ended)
        if ended.cancelled() or isinstance(ended.exception(), virtual.Killed):
            return

        def arrive() -> None:
            if answer.done():
                return
            if (error := ended.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(ended.result())

        self._back(target, source, arrive, lambda: failed("timed out"))

    def _back(
        self, target: str, source: str, arrive: Callable[[], None], lost: Callable[[], None] = lambda: None
    ) -> None:
        self.post(target, source, arrive, lost)


OUTSIDE: Final = Process("fabric")
"""Messages under way belong to nobody: they arrive although their sender was killed."""
