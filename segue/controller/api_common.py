"""What all parts of the API share: pages of lists, ETags, tasks that are begun once for a key."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from fastapi import Depends, Header, Query, Request, Response

from segue.adapters import chance, clock
from segue.adapters.http.access import Caller
from segue.controller import gate
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.controller.mirror import Kept
from segue.errors import Kind, Refused
from segue.model.rights import Verb
from segue.model.store import Conflict
from segue.model.task import PARALLEL_MOST, Task, TaskKind

T = TypeVar("T")
PAGE_MOST: Final = 500
KEYED: Final = uuid.UUID("6f2f4c1e-58b5-4d0e-9d43-9b8f5c6f0c52")
"""Tasks with an Idempotency-Key get an id that follows from it."""
Viewer = Annotated[Caller, Depends(gate.looks(Verb.LOOK))]
Key = Annotated[str, Header(alias="idempotency-key", max_length=200)]
IfMatch = Annotated[str, Header(alias="if-match")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST)]


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. `next`: give it as `after` to go on; empty at the end."""

    items: list[T]
    next: str = ""


def page(items: Iterable[tuple[str, T]], limit: int, after: str) -> Page[T]:
    """The part of it that was asked for."""
    found = [(name, item) for name, item in items if name > after][: limit + 1]
    more = len(found) > limit
    return Page([item for _, item in found[:limit]], found[limit - 1][0] if more else "")


def selector(text: str) -> dict[str, str]:
    """`rack=r7,feed=a`. Raises Refused for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not (label and sign) for label, sign, _ in pairs):
        raise odd(f"'{text[:80]}' is no selector", "Write it as rack=r7,feed=a.")
    if len({label for label, _, _ in pairs}) < len(pairs):
        raise odd(f"'{text[:80]}' names a label twice", "Each host has one value of a label: name it once.")
    return {label: value for label, _, value in pairs}


def revision(if_match: str) -> int:
    """The revision in an ETag of ours; 0 where none was given."""
    text = if_match.strip().strip('"')
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise odd(f"'{if_match[:40]}' is no ETag of ours", "Give the ETag that the last answer had.")
    return int(text or 0)


def tagged(response: Response, kept: Kept[T]) -> T:
    """The value; the answer's ETag is for If-Match."""
    response.headers["etag"] = f'"{kept.entry.revision}"'
    return kept.value


async def begin(
    request: Request, response: Response, asked: Asked, key: str, kind: TaskKind, wish: Any
) -> Task:
    """A new task; the one that there is where the same was asked for with the same Idempotency-Key."""
    controller = controller_of(request)
    body = msgspec.to_builtins(wish)
    digest = digest_of(kind, body)
    number = numbered(asked, key) or chance.new_id()
    made = Task(number, kind, asked.by.name, clock.wall_s(), body, digest)
    try:
        await controller.books.add(controller.mirror.tasks, number, made)
    except Conflict as conflict:
        await controller.mirror.reached(conflict.current.revision if conflict.current else 0)
        made = the_same(controller.books.known(controller.mirror.tasks, number).value, digest)
    response.headers["location"] = f"/v1/tasks/{number}"
    return made


def digest_of(kind: TaskKind, wish: Any) -> str:
    """The same for the same wish."""
    body = msgspec.to_builtins(wish)
    return hashlib.sha256(msgspec.json.encode([kind, body], order="deterministic")).hexdigest()


def the_same(task: Task, digest: str) -> Task:
    """What was begun with that key before. Raises Refused where it was another wish."""
    if task.digest != digest:
        raise odd("the Idempotency-Key was used for something else", "Take a new key.")
    return task


def numbered(asked: Asked, key: str) -> str:
    """The id of the task that this caller began with that key; empty without a key."""
    return str(uuid.uuid5(KEYED, f"{asked.by.name} {key}")) if key else ""


def demand_parallel(parallel: int) -> int:
    """Moves at once from each host and to each host. Raises Refused."""
    if not 1 <= parallel <= PARALLEL_MOST:
        raise odd(f"parallel is {parallel}", f"Give a number from 1 to {PARALLEL_MOST}.")
    return parallel


def odd(why: str, todo: str) -> Refused:
    """The request makes no sense."""
    return Refused(what="the request was not understood", why=why, todo=todo, kind=Kind.USAGE)
