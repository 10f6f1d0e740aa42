"""Clients at random on few keys: what they see fits one order of calls, and the check finds what does not."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.contracts import history
from tests.contracts.history import CONFLICT, DONE, READ, UNKNOWN, Call, History, explainable, faults
from tests.contracts.rigs import Rig

KEYS = ["a", "b", "c/d"]


@pytest.mark.parametrize("seed", range(6))
async def test_calls_are_linearizable(rig: Rig, seed: int) -> None:
    seen = History()
    stores = [rig.open() for _ in range(3)]
    clients = [
        history.client(stores[n % 3], KEYS, random.Random(f"{seed}-{n}"), calls=25, history=seen)
        for n in range(6)
    ]
    await asyncio.gather(*clients)
    for key in KEYS:
        await history.read(stores[0], key, seen)
    assert faults(seen) == []
    kinds = {call.what for call in seen.calls}
    assert {READ, DONE, CONFLICT} <= kinds


def call(
    what: str, begun_s: float, ended_s: float, expected: int = 0, saw: int = 0, *, deletes: bool = False
) -> Call:
    return Call("k", what, begun_s, ended_s, expected, saw, deletes)


@pytest.mark.parametrize(
    ("calls", "fine"),
    [
        ([call(DONE, 0, 1, 0, 5), call(READ, 2, 3, saw=5)], True),
        ([call(DONE, 0, 1, 0, 5), call(READ, 2, 3, saw=0)], False),  # stale read
        ([call(DONE, 0, 3, 0, 5), call(READ, 1, 2, saw=0)], True),  # at the same time
        (
            [call(DONE, 0, 3, 0, 5), call(READ, 1, 1.5, saw=5), call(READ, 2, 2.5, saw=0)],
            False,
        ),  # back in time
        ([call(DONE, 0, 1, 0, 5), call(DONE, 2, 3, 0, 6)], False),  # created twice
        ([call(DONE, 0, 1, 0, 5), call(DONE, 0, 1, 5, 6), call(DONE, 0, 1, 5, 7)], False),  # both replaced it
        ([call(DONE, 0, 1, 0, 5), call(CONFLICT, 2, 3, 5, 5)], False),  # there was no conflict
        ([call(DONE, 0, 1, 0, 5), call(DONE, 2, 3, 5, 6, deletes=True), call(READ, 4, 5, saw=5)], False),
        ([call(DONE, 0, 1, 0, 5), call(UNKNOWN, 2, 99, 5, deletes=True), call(READ, 4, 5, saw=5)], True),
        ([call(DONE, 0, 1, 0, 5), call(UNKNOWN, 2, 99, 5, deletes=True), call(READ, 4, 5, saw=0)], True),
        (
            [
                call(DONE, 0, 1, 0, 5),
                call(UNKNOWN, 2, 99, 5, deletes=True),
                call(READ, 4, 5, saw=0),
                call(READ, 6, 7, saw=5),
            ],
            False,
        ),
    ],
)
def test_the_check_tells_them_apart(calls: list[Call], fine: bool) -> None:
    assert explainable(calls) is fine
