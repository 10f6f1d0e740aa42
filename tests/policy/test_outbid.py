"""Two takeovers that knew nothing of each other: of two owners exactly one goes on, whatever their epochs are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.handoff import Outbid, Phase, Token
from segue.policy import handoff, takeover
from segue.policy.handoff import Copy

numbers = st.integers(1, 9)


def ask(asker: Token, token: Token, *, ran: bool, first: bool) -> tuple[Token, Token]:
    """A host that has not run its guest since its boot asks another: (what it has then, what the other has)."""
    if takeover.is_newer(token, asker.epoch, "asker", ran=ran, first=first):
        token = handoff.react(token, Outbid(asker.epoch, "asker"), Copy.NONE).token
    if (owned := handoff.owned(token)) > asker.epoch:
        asker = handoff.react(asker, handoff.PeerEpoch(owned, "other"), Copy.NONE).token
    return asker, token


@given(numbers, numbers)
def test_who_has_run_it_keeps_it(mine: int, theirs: int) -> None:
    asker, other = ask(Token(Phase.OWNER, mine), Token(Phase.OWNER, theirs), ran=True, first=False)
    assert asker.phase is Phase.ABSENT
    assert other.phase is Phase.OWNER
    assert other.epoch >= asker.epoch


@given(numbers, numbers)
def test_where_neither_has_run_it_one_is_left(mine: int, theirs: int) -> None:
    one, other = Token(Phase.OWNER, mine), Token(Phase.OWNER, theirs)
    one, other = ask(one, other, ran=False, first=False)
    if other.phase is Phase.OWNER and one.phase is Phase.OWNER:
        other, one = ask(other, one, ran=False, first=True)
    assert {one.phase, other.phase} == {Phase.OWNER, Phase.ABSENT}


@given(numbers, numbers)
def test_what_was_given_to_the_asker_is_its_own(mine: int, theirs: int) -> None:
    given_away = Token(Phase.RELEASED, theirs, "asker", "m1")
    assert not takeover.is_newer(given_away, mine, "asker", ran=True, first=True)


@pytest.mark.parametrize("phase", [Phase.OFFERED, Phase.RELEASED])
def test_a_move_that_is_under_way_keeps_its_epoch(phase: Phase) -> None:
    token = Token(phase, 4, "host3", "m1")
    assert handoff.react(token, Outbid(7, "host2"), Copy.RUNNING).token == token
    assert takeover.is_newer(token, 7, "host2", ran=True, first=False), (
        "and the asker must not start it meanwhile"
    )
