"""The one thread that writes to a store's file. Calls share a sync of the disk; it must never answer before it."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters.store.sqlite import file, rows
from segue.errors import SegueError
from segue.model.store import Away

TOGETHER: Final = 64
Act = Callable[[sqlite3.Connection], Any]
"""What is to be done in the transaction; its value is the answer."""
Lost = Callable[[str], SegueError]
"""The error of a call whose outcome is not known, from why."""


@dataclass(frozen=True)
class Call:
    """One act, and who waits for it."""

    act: Act
    lost: Lost
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Writer:
    """`wrote` is called in the event loop after each transaction that may have changed something."""

    def __init__(self, path: Path, now_s: Callable[[], float], wrote: Callable[[], None]) -> None:
        self._path = path
        self._now_s = now_s
        self._wrote = wrote
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._db = file.connect(path)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def do(self, act: Act, lost: Lost) -> Any:
        """Has it done, durably. Raises its error, Away, or what `lost` makes."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._calls.put(Call(act, lost, answer, loop))
        return await answer

    def stop(self) -> None:
        """What was asked for before is still done; blocks until it is."""
        self._calls.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while (first := self._calls.get()) is not None:
            calls: list[Call | None] = [first]
            while len(calls) < TOGETHER and not self._calls.empty():
                calls.append(self._calls.get())
            self._together([call for call in calls if call is not None])
            if None in calls:
                return

    def _together(self, calls: list[Call]) -> None:
        """One transaction: either all of it is on the disk when the answers go out, or none of it."""
        answers: list[Any] = []
        committing = False
        try:
            self._begin()
            answers = [self._one(call.act) for call in calls]
            committing = True
            self._db.execute("commit")
        except sqlite3.Error as error:
            self._undo()
            unsure = committing and file.code(error) not in file.CERTAIN
            answers = [call.lost(str(error)) if unsure else file.away(self._path, error) for call in calls]
        for call, answer in zip(calls, answers, strict=True):
            call.loop.call_soon_threadsafe(_answer, call.answer, answer)
        calls[0].loop.call_soon_threadsafe(self._wrote)

    def _begin(self) -> None:
        """Leases that are over end before anybody decides anything."""
        self._db.execute("begin immediate")
        now_s = self._now_s()
        rows.adopt(self._db, now_s)
        rows.end(self._db, rows.due(self._db, now_s))

    def _one(self, act: Act) -> Any:
        self._db.execute("savepoint one")
        try:
            return act(self._db)
        except SegueError as error:
            self._db.execute("rollback to one")
            return error
        finally:
            self._db.execute("release one")

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("rollback")


def _answer(future: asyncio.Future[Any], value: Any) -> None:
    if future.done():  # whoever asked was cancelled
        return
    if isinstance(value, SegueError):
        future.set_exception(value)
    else:
        future.set_result(value)


def nothing_lost(path: Path) -> Lost:
    """For calls that change nothing anybody could miss."""

    def lost(why: str) -> SegueError:
        return Away(
            what=f"the store {path} cannot be used", why=why, todo="Look at the disk and the kernel's log."
        )

    return lost
