"""User numbers of guests: one for each, the same wherever it goes, and never somebody's."""

from __future__ import annotations

import uuid
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.guest import Guest
from segue.policy import identity

FIRST = 0x70000000
uuids = st.uuids().map(str)
firsts = st.integers(identity.LOWEST, identity.HIGHEST - identity.COUNT)
GUEST = Guest(name="web1", uuid=str(uuid.UUID(int=7)), memory_bytes=1 << 28)


@given(uuids, firsts, st.sets(uuids, max_size=20))
def test_a_number_is_in_its_range_and_nobody_elses(own: str, first: int, others: set[str]) -> None:
    taken = {identity.number(other, first, ()) for other in others}
    found = identity.number(own, first, taken)
    assert found not in taken
    assert first <= found < first + identity.COUNT
    assert identity.number(own, first, taken) == found
    assert not identity.objection(replace(GUEST, uid=found), ())


@given(uuids, firsts)
def test_a_taken_number_is_passed_over_at_the_end_of_the_range_too(own: str, first: int) -> None:
    last = str(uuid.UUID(int=identity.COUNT - 1))
    assert identity.number(last, first, {first + identity.COUNT - 1}) == first
    wanted = identity.number(own, first, ())
    assert identity.number(own, first, {wanted}) != wanted


def test_no_range_is_no_number() -> None:
    assert identity.number(GUEST.uuid, 0, {0}) == 0
    assert identity.usable(0)
    assert not identity.usable(1000)
    assert identity.usable(FIRST)


@given(st.integers(1, identity.LOWEST - 1) | st.integers(identity.HIGHEST + 1, 1 << 33))
def test_a_peer_cannot_make_a_guest_somebody(uid: int) -> None:
    assert "is not between" in identity.objection(replace(GUEST, uid=uid), ())


def test_a_peer_cannot_make_a_guest_another_guest() -> None:
    mine = replace(GUEST, uid=FIRST)
    other = replace(GUEST, name="db1", uuid="another", uid=FIRST)
    assert "that of db1" in identity.objection(mine, [other])
    assert not identity.objection(mine, [mine])
    assert not identity.objection(replace(GUEST, uid=0), [replace(other, uid=0)])
