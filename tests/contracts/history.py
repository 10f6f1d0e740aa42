"""Did it look as if one call after the other was carried out, each at one instant between its start and its end?

The search of Wing and Gong, for each key alone: where every key is linearizable, the whole store is.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from segue.engine.store import Store
from segue.model import store as nouns
from segue.model.store import Away, Change, Conflict, Entry, OutcomeUnknown

READ, DONE, CONFLICT, UNKNOWN = "read", "done", "conflict", "unknown"


@dataclass(frozen=True)
class Call:
    """One call. `saw`: the revision read, or that stood in the way, or under which it was done; 0: no key."""

    key: str
    what: str
    begun_s: float
    ended_s: float
    expected: int = 0
    saw: int = 0
    deletes: bool = False
    tag: str = ""


@dataclass
class History:
    """What all clients did and saw; `tags` says under which revision each commit was seen."""

    calls: list[Call] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)

    def saw(self, entry: Entry | None) -> int:
        """Remembers whose entry it is."""
        if entry is None:
            return 0
        assert self.tags.setdefault(entry.tag, entry.revision) == entry.revision, (
            "one commit under two revisions"
        )
        return entry.revision


async def client(store: Store, keys: list[str], rng: random.Random, calls: int, history: History) -> None:
    """Reads and writes at random; it believes what it read last."""
    known: dict[str, Entry | None] = dict.fromkeys(keys)
    for _ in range(calls):
        key = rng.choice(keys)
        if rng.random() < 0.4:
            known[key] = await read(store, key, history)
        else:
            known[key] = await write(store, key, known[key], rng, history)


async def read(store: Store, key: str, history: History) -> Entry | None:
    begun_s = time.monotonic()
    try:
        entry = await store.get(key)
    except Away:  # it had no answer, so it says nothing
        return None
    history.calls.append(Call(key, READ, begun_s, time.monotonic(), saw=history.saw(entry)))
    return entry


async def write(
    store: Store, key: str, known: Entry | None, rng: random.Random, history: History
) -> Entry | None:
    """A create, a compare-and-set or a delete, of what it takes to be there."""
    value = str(rng.random()).encode()
    change = nouns.create(key, value)
    if known is not None:
        change = nouns.delete(known) if rng.random() < 0.25 else nouns.replace(known, value)
    return await commit(store, change, history)


async def commit(store: Store, change: Change, history: History) -> Entry | None:
    begun_s = time.monotonic()

    def note(what: str, saw: int = 0, ended_s: float = 0.0, tag: str = "") -> None:
        call = Call(
            change.key,
            what,
            begun_s,
            ended_s or time.monotonic(),
            change.revision,
            saw,
            change.value is None,
            tag,
        )
        history.calls.append(call)

    try:
        revision = await store.commit(change)
    except Conflict as error:
        note(CONFLICT, history.saw(error.current))
        return error.current
    except OutcomeUnknown as error:
        note(UNKNOWN, ended_s=math.inf, tag=error.commit.tag)
        return None
    except Away:  # not done, for certain
        return None
    note(DONE, revision)
    return None if change.value is None else Entry(change.key, change.value, revision)


def faults(history: History) -> list[str]:
    """What cannot be explained; nothing, if all is well."""
    found = []
    for key in sorted({call.key for call in history.calls}):
        calls = [
            settled for call in history.calls if call.key == key and (settled := _settled(call, history))
        ]
        if not explainable(calls):
            found.append(f"{key}: no order of these explains them: {calls}")
    done = sorted((call for call in history.calls if call.what == DONE), key=lambda call: call.saw)
    if len({call.saw for call in done}) < len(done):
        found.append("two commits have one revision")
    latest_s = math.inf
    for call in reversed(done):
        if call.begun_s > latest_s:
            found.append(f"{call} has a lower revision than a call that ended before it began")
        latest_s = min(latest_s, call.ended_s)
    return found


def _settled(call: Call, history: History) -> Call | None:
    """A commit without an answer was done if anybody saw what it wrote. Nobody replaces what he never read."""
    if call.what != UNKNOWN or call.deletes:
        return call
    revision = history.tags.get(call.tag, 0)
    return replace(call, what=DONE, saw=revision) if revision else None


def explainable(calls: Iterable[Call]) -> bool:
    """True if some order within the calls' times leads from one state to the next; a delete may be without effect."""
    todo = sorted(calls, key=lambda call: call.begun_s)
    everything = sum(1 << n for n, call in enumerate(todo) if call.what != UNKNOWN)
    stack, tried = [(0, 0)], {(0, 0)}
    while stack:
        done, state = stack.pop()
        if done & everything == everything:
            return True
        left = [n for n in range(len(todo)) if not done >> n & 1]
        latest_s = min(todo[n].ended_s for n in left)
        for n in left:
            after = _after(todo[n], state) if todo[n].begun_s <= latest_s else None
            if after is not None and (step := (done | 1 << n, after)) not in tried:
                tried.add(step)
                stack.append(step)
    return False


def _after(call: Call, state: int) -> int | None:
    """The key's revision after the call; None if it cannot have been carried out in this state."""
    if call.what == READ:
        return state if state == call.saw else None
    if call.what == CONFLICT:
        return state if state == call.saw != call.expected else None
    if state != call.expected:
        return None
    return 0 if call.deletes else call.saw
