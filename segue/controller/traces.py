"""The controller's part of each migration's trace: one span, from its command until it hears of the end."""

from __future__ import annotations

from typing import Final

from segue.adapters import chance, clock
from segue.adapters.spans import Sender
from segue.model.migration import Migration
from segue.model.task import Task
from segue.model.trace import Trace
from segue.policy import spans

KNOWN_MOST: Final = 10_000


class Traces:
    """Without a `sender` ids are handed on all the same: they are in records and logs."""

    def __init__(self, sender: Sender | None) -> None:
        self._sender = sender
        self._asked: dict[str, tuple[float, str]] = {}
        """Trace -> (when it was asked for, the task). A leader that took over does not know."""

    def begin(self, task: Task) -> str:
        """The `traceparent` of a command that begins a migration."""
        number = chance.token(32)
        while len(self._asked) >= KNOWN_MOST:
            del self._asked[next(iter(self._asked))]
        self._asked[number] = clock.wall_s(), task.id
        return Trace(number, spans.controllers(number)).header

    def ended(self, migration: Migration) -> None:
        """Tells the span, if a controller asked for it: this one or one that led before."""
        trace = migration.trace
        began_s, task = self._asked.pop(trace.id, (migration.started_s, ""))
        if self._sender is None or not trace.id or trace.parent != spans.controllers(trace.id):
            return
        why = (("segue.task.id", task),) if task else ()
        told = spans.of_controller(migration, began_s, clock.wall_s(), why)
        self._sender.send(Trace(trace.id, trace.parent, "", trace.sampled), told)
