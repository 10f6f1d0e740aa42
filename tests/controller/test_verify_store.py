"""A verification on virtual time: what befalls its leader and the store says nothing against the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from segue.adapters import clock
from segue.adapters.metrics import Meter
from segue.controller import verifying
from segue.controller.app import Controller
from segue.controller.books import Books
from segue.controller.limits import Limits
from segue.controller.links import Links
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.traces import Traces
from segue.controller.work import Work
from segue.errors import Kind, Refused, SegueError
from segue.model import store as nouns
from segue.model.guest import Guest
from segue.model.health import Health, Level
from segue.model.leadership import NotLeading, Tenure
from segue.model.metrics import CONTROLLER
from segue.model.store import Away, Fence, Fenced, Lease
from segue.model.task import Task, TaskKind, TaskState
from segue.model.verification import Said, Verification, burn_in_name
from segue.sim.loop import VirtualLoop
from segue.sim.store import MemoryStore, Shelf
from segue.sim.world import NodeClock
from segue.wire.frames import Shown

TASK = "0123456789abcdef"
AWAY = Away(what="the store does not answer", why="a member is away", todo="Wait.")
FENCE = Fence("leader", 1)


class Store(MemoryStore):
    """`trouble`: what befalls the next call of that task."""

    trouble: SegueError | None = None
    writer: asyncio.Task[Any] | None = None

    async def _go(self) -> None:
        await super()._go()
        if self.trouble and asyncio.current_task() is self.writer:
            trouble, self.trouble = self.trouble, None
            raise trouble


class OneHost(Links):
    """An agent that does at once what it is asked for, and tells it to the store."""

    def __init__(self, mirror: Mirror, shelf: Shelf) -> None:
        super().__init__(mirror, cast(Any, None), cast(Any, None), Loads())
        self._shelf = shelf
        self.looks = 0
        self.on_look: Callable[[int], None] = lambda _: None

    async def call(self, host: str, method: str, path: str, body: Any = None, **_: Any) -> Any:
        name = burn_in_name(TASK)
        shown = Shown(name, host, "running", "owner", 1, Guest(name, "u1", 1 << 28))
        key = f"guests/{host}/u1"
        kept = self._shelf.entries.get(key)
        if (method, path) == ("POST", "/v1/guests"):
            assert kept is None
            self._shelf.apply(nouns.Commit("made", (nouns.create(key, msgspec.json.encode(shown)),), None))
        elif method == "DELETE" and kept:
            self._shelf.apply(nouns.Commit(f"gone{kept.revision}", (nouns.delete(kept),), None))
        elif path.endswith("burn-in"):
            self.looks += 1
            self.on_look(self.looks)
            return msgspec.to_builtins(Said(good=self.looks))
        answers: dict[str, Any] = {
            "/v1/doctor": {"findings": []},
            "/v1/health": Health(host, Level.HEALTHY, 0.0),
        }
        return msgspec.to_builtins(answers.get(path, shown))


async def room(loop: VirtualLoop) -> tuple[Controller, Store, OneHost, Shelf]:
    shelf = Shelf(loop)
    store = Store(shelf)
    mirror = Mirror(store)
    books, links, nothing = Books(store, mirror), OneHost(mirror, shelf), cast(Any, None)
    controller = Controller(
        name="c1", store=store, mirror=mirror, books=books, links=links, loads=Loads(), candidate=nothing,
        authority=nothing, ca_pem=b"", own=nothing, bars=nothing, limits=Limits(), certificate_s=0.0,
        meter=Meter(CONTROLLER), traces=Traces(None),
    )  # fmt: skip
    wish = {"host": "host1", "burn_s": 20.0, "stay": True}
    await store.commit(nouns.create("leader", b'{"name": "c1"}'))
    await store.commit(
        nouns.create(f"tasks/{TASK}", msgspec.json.encode(Task(TASK, TaskKind.VERIFY, "ann", 0.0, wish)))
    )
    return controller, store, links, shelf


async def led(loop: VirtualLoop) -> tuple[Store, OneHost, Work, asyncio.Task[None]]:
    """The room with a leader at work in it, and what follows the store for it."""
    clock.give(NodeClock(loop))
    controller, store, links, shelf = await room(loop)
    follows = asyncio.create_task(controller.mirror.follow())
    await controller.mirror.reached(shelf.revision)
    work = Work(controller, Tenure("c1", 1, FENCE, Lease(1, 5.0), 0.0), TASK)
    return store, links, work, follows


@pytest.mark.parametrize(
    ("where", "trouble"),
    [("store", AWAY), ("store", Fenced(FENCE)), ("agent", NotLeading("c1"))],
    ids=["store away", "fenced", "not leading"],
)
def test_what_befalls_the_leader_is_no_failure_of_the_host(where: str, trouble: SegueError) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        store, links, work, follows = await led(loop)
        controller = work.controller

        def befall(look: int) -> None:
            if look == 3 and where == "store":
                store.trouble, store.writer = trouble, asyncio.current_task()
            elif look == 3:
                raise trouble

        links.on_look = befall
        with pytest.raises(type(trouble)):
            await verifying.carry_out(work)
        links.on_look = lambda _: None
        kept = controller.mirror.verifications.get("host1")
        assert kept is not None
        assert kept.value == replace(kept.value, ok=False, checks=())
        assert not work.task.ended
        await verifying.carry_out(work)
        shown: Verification = controller.books.known(controller.mirror.verifications, "host1").value
        assert (work.task.state, shown.ok) == (TaskState.DONE, True)
        assert not controller.mirror.guests.items()
        follows.cancel()

    loop.run(main())


def test_progress_that_is_seen_late_is_no_failure_either() -> None:
    loop = VirtualLoop()
    late = Refused(what="it is not shown", why="the watch is late", todo="Wait.", kind=Kind.TIMEOUT)

    async def main() -> None:
        store, links, work, follows = await led(loop)

        def befall(look: int) -> None:
            if look == 3:
                store.trouble, store.writer = late, asyncio.current_task()

        links.on_look = befall
        await verifying.carry_out(work)
        assert store.trouble is None
        assert work.task.state is TaskState.DONE
        follows.cancel()

    loop.run(main())
