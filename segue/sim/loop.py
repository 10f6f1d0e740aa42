"""An event loop on virtual time, and processes in it that can be killed and frozen. It must never wait for real.

Time passes only where nothing is left to be done at this instant. Callbacks run in the order in which they became
due, so the same program gives the same run. No threads, no sockets; what would go to a thread is done at once.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from enum import StrEnum
from typing import Any, Final, TypeVar

T = TypeVar("T")

AT_ONCE_MOST: Final = 200_000
"""So many callbacks without time passing are a program that goes round in circles."""
TASKS_LEAST: Final = 256
"""So many are kept before those that are done are looked for."""


class Killed(BaseException):
    """Whoever runs here was killed a moment ago: nothing that it still does has an effect."""


class Stuck(Exception):
    """The simulated program can never go on, or goes round in circles."""


class Life(StrEnum):
    """Of a process."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """All tasks that are begun in its context. Killed, not one of their lines runs any more, not even a `finally`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life = Life.RUNNING
        self.context: Context = copy_context()
        self.context.run(_current.set, self)
        self._held: list[_Handle] = []

    def kill(self) -> None:
        """For good."""
        self.life = Life.DEAD
        self._held.clear()

    def freeze(self) -> None:
        """Stands still until it is thawed."""
        if self.life is Life.RUNNING:
            self.life = Life.FROZEN

    def thaw(self, loop: VirtualLoop) -> None:
        """Goes on: what became due meanwhile is done now, late."""
        if self.life is Life.FROZEN:
            self.life = Life.RUNNING
            held, self._held = self._held, []
            for handle in held:
                loop.again(handle)

    def hold(self, handle: _Handle) -> None:
        """Of a frozen process: done when it is thawed."""
        self._held.append(handle)

    def start(self, loop: VirtualLoop, work: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """A task of this process."""
        task: asyncio.Task[T] = loop.create_task(work, name=name or self.name, context=self.context)
        return task


_current: ContextVar[Process | None] = ContextVar("process", default=None)


def demand_alive() -> None:
    """For everything with an effect outside of the process. Raises Killed."""
    process = _current.get()
    if process is not None and process.life is Life.DEAD:
        raise Killed


def current() -> Process | None:
    """The process whose code runs."""
    return _current.get()


class _Handle:
    """As asyncio's, without what is only for debugging: a rehearsal makes ten thousand of them."""

    __slots__ = ("args", "callback", "context", "process", "when_s")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when_s: float
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self.process = context.get(_current)
        self.when_s = when_s

    def cancel(self) -> None:
        """See asyncio. It is thrown away when its time comes."""
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        """See asyncio."""
        return self.callback is None

    def when(self) -> float:
        """See asyncio."""
        return self.when_s

    def __repr__(self) -> str:
        return f"<{self.callback!r}{self.args!r}>"


class _Future(asyncio.Future[Any]):
    """Sets of these are walked through in the same order in every run."""

    number: int

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    def __init__(self, coro: Any, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """Begins at second 0."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._ready: deque[_Handle] = deque()
        self._due: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        self._running = self._over = False
        self.steps = 0
        self._tasks_most = TASKS_LEAST
        self.tasks: list[_Task] = []
        """Kept: a task that is thrown away runs its `finally`, which a killed process never does."""

    # Time and callbacks

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def get_debug(self) -> bool:
        """See asyncio."""
        return False

    def is_running(self) -> bool:
        """See asyncio."""
        return self._running

    def is_closed(self) -> bool:
        """See asyncio."""
        return self._over

    def close(self) -> None:
        """See asyncio."""
        self.forget()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """See asyncio."""
        handle = _Handle(callback, args, copy_context() if context is None else context, self._now_s)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """See asyncio."""
        when_s = self._now_s + delay if delay > 0 else self._now_s
        timer = _Handle(callback, args, copy_context() if context is None else context, when_s)
        heapq.heappush(self._due, (when_s, next(self._numbers), timer))
        return timer

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        """See asyncio."""
        timer = _Handle(callback, args, copy_context() if context is None else context, when)
        heapq.heappush(self._due, (when, next(self._numbers), timer))
        return timer

    def again(self, handle: _Handle) -> None:
        """Of a process that was frozen when it was due."""
        self._ready.append(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        made = _Future(loop=self)
        made.number = next(self._numbers)
        return made

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> Any:
        """See asyncio."""
        made = _Task(coro, next(self._numbers), loop=self, name=str(name or "task"), context=context)
        self.tasks.append(made)
        if len(self.tasks) > self._tasks_most:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._tasks_most = 2 * len(self.tasks) + TASKS_LEAST
        return made

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """At once: a thread would come back at another instant in every run."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever awaits it
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Of tasks whose error nobody asked for; who must not fail is watched by the checkers."""

    def forget(self) -> None:
        """All that was ever to be done; what is left of its tasks is thrown away without a word."""
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks.clear()
        self._ready.clear()
        self._due.clear()
        self._over = True

    # Running

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Until that is done. Raises Stuck where it never will be."""
        task: asyncio.Task[T] = self.create_task(work, name="main")
        self._running = True
        events._set_running_loop(self)
        try:
            while not task.done():
                self._step()
        finally:
            events._set_running_loop(None)
            self._running = False
        return task.result()

    def _step(self) -> None:
        if not self._ready:
            self._pass_time()
        ready, at_once = self._ready, 0
        while ready:
            handle = ready.popleft()
            process, callback = handle.process, handle.callback
            if callback is None:
                continue
            if process is not None and process.life is not Life.RUNNING:
                if process.life is Life.FROZEN:
                    process.hold(handle)
                continue
            try:
                handle.context.run(callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio's own handle does
                self.call_exception_handler({"message": f"{handle!r} failed", "exception": error})
            at_once += 1
            if at_once > AT_ONCE_MOST:
                raise Stuck(f"at second {self._now_s:.3f} it goes round in circles: {handle!r}")
        self.steps += at_once

    def _pass_time(self) -> None:
        due = self._due
        while due and due[0][2].callback is None:
            heapq.heappop(due)
        if not due:
            raise Stuck(f"at second {self._now_s:.3f} nothing is left that could ever happen")
        self._now_s = max(self._now_s, due[0][0])
        while due and due[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(due)[2])
