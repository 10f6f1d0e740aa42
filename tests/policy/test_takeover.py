"""An heir is made only of a host that has nothing, with a number above all others, and twice is as good as once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.handoff import Discard, Refuse, TakeOver
from segue.policy import handoff, takeover
from segue.policy.handoff import Copy, Phase, Token

tokens = st.builds(
    Token, st.sampled_from(Phase), st.integers(0, 9), st.sampled_from(["", "A"]), st.just("m1")
)
events = st.builds(TakeOver, st.just("A"), st.sampled_from(["", "off"]), st.integers(0, 20))
copies = st.sampled_from(Copy)


@given(tokens, events, copies)
def test_only_a_host_without_any_part_becomes_the_heir(token: Token, event: TakeOver, copy: Copy) -> None:
    after = handoff.react(token, event, copy).token
    if after != token:
        assert token.phase is Phase.ABSENT
        assert copy is Copy.NONE
        assert event.proof
        assert after.phase is Phase.OWNER
        assert after.epoch >= token.epoch + takeover.STEP


@given(tokens, events)
def test_said_again_it_changes_nothing_and_is_no_refusal(token: Token, event: TakeOver) -> None:
    once = handoff.react(token, event, Copy.NONE)
    if once.token != token:
        again = handoff.react(once.token, event, Copy.NONE)
        assert again.token == once.token
        assert not again.effects


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_the_number_is_above_all_that_is_claimed_or_known(claims: list[int], recorded: int) -> None:
    assert all(takeover.epoch(claims, recorded) >= known + takeover.STEP for known in [recorded, *claims])


def test_an_old_copy_goes_before_the_journal_says_owner() -> None:
    reaction = handoff.react(Token(Phase.ABSENT, 2), TakeOver("A", "off", 9), Copy.COMPLETE)
    assert reaction.effects == (Discard(),)
    assert reaction.again
    assert reaction.token == Token(Phase.ABSENT, 2)


def test_without_a_proof_nothing_happens() -> None:
    effect = handoff.react(Token(), TakeOver("A", "", 9), Copy.NONE).effects[0]
    assert isinstance(effect, Refuse)
