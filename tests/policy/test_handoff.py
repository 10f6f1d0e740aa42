"""What holds for the handoff in every state, also in those that no history leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.policy import handoff
from segue.policy.handoff import (
    Boot,
    Confirm,
    Copy,
    Discard,
    Grant,
    Phase,
    Refuse,
    Resume,
    Send,
    Token,
)

PEER = "other"
numbers = st.integers(0, 6)
migrations = st.sampled_from(["m1", "m2"])
tokens = st.one_of(
    st.builds(Token, st.sampled_from([Phase.ABSENT, Phase.OWNER]), numbers, st.just(""), migrations),
    st.builds(
        Token,
        st.sampled_from([Phase.OFFERED, Phase.RELEASED, Phase.INCOMING, Phase.OWNER]),
        numbers,
        st.just(PEER),
        migrations,
    ),
)
copies = st.sampled_from(Copy)
messages = st.one_of(*(st.builds(kind, numbers, migrations) for kind in handoff.MESSAGES.values()))
local_events = st.one_of(
    st.builds(handoff.Created),
    st.builds(handoff.Start, numbers),
    st.builds(handoff.Begin, st.just(PEER), migrations, st.booleans()),
    st.builds(handoff.BothComplete, migrations, st.booleans()),
    st.builds(handoff.GiveUp, migrations),
    st.builds(handoff.NeverRan, migrations),
    st.builds(handoff.PeerFenced, st.just(PEER), st.just("it is off"), numbers),
    st.builds(handoff.PeerEpoch, numbers, st.just(PEER)),
    st.builds(handoff.Outbid, numbers, st.just(PEER)),
)
events = st.one_of(messages, local_events)


@given(tokens, events, copies)
def test_the_epoch_in_a_journal_never_falls(token: Token, event: handoff.Event, copy: Copy) -> None:
    assert handoff.react(token, event, copy, PEER).token.epoch >= token.epoch


@given(tokens, events, copies)
def test_what_is_refused_changes_nothing(token: Token, event: handoff.Event, copy: Copy) -> None:
    reaction = handoff.react(token, event, copy, PEER)
    if any(isinstance(effect, Refuse) for effect in reaction.effects):
        assert reaction.token == token
        assert len(reaction.effects) == 1


@given(tokens, events, copies)
def test_only_an_owner_runs_and_only_what_it_holds(token: Token, event: handoff.Event, copy: Copy) -> None:
    reaction = handoff.react(token, event, copy, PEER)
    for effect in (*reaction.effects, *handoff.pending(token, copy)):
        if isinstance(effect, Resume):
            assert copy is Copy.COMPLETE
        if isinstance(effect, Boot):
            assert copy is Copy.NONE
    if {Resume(), Boot()} & set(reaction.effects):
        assert reaction.token.phase is Phase.OWNER
    if Resume() in handoff.pending(token, copy):
        assert token.phase is Phase.OWNER


@given(tokens, events, copies)
def test_a_grant_leaves_only_after_a_journaled_release(
    token: Token, event: handoff.Event, copy: Copy
) -> None:
    reaction = handoff.react(token, event, copy, PEER)
    for effect in reaction.effects:
        if isinstance(effect, Send) and isinstance(effect.message, Grant):
            assert reaction.token.phase is Phase.RELEASED
            assert (reaction.token.epoch, reaction.token.peer) == (effect.message.epoch, effect.to)


@given(tokens, events, copies)
def test_what_was_confirmed_is_never_handed_back(token: Token, event: handoff.Event, copy: Copy) -> None:
    reaction = handoff.react(token, event, copy, PEER)
    after = reaction.token
    if after.phase is Phase.OWNER and Send(PEER, Confirm(after.epoch, after.migration)) in reaction.effects:
        assert not after.peer  # An OFFERED token's peer is its target, not who gave the guest.
    if token.phase is Phase.OWNER and reaction.token.phase is Phase.RELEASED:
        assert token.peer
        assert copy is not Copy.RUNNING


@given(tokens, messages, copies)
def test_a_stranger_changes_nothing_in_a_handoff(token: Token, message: handoff.Message, copy: Copy) -> None:
    """Only an offer to a host that has nothing of the guest may come from anywhere."""
    for sender in ("stranger", ""):
        after = handoff.react(token, message, copy, sender).token
        assert after == token or (token.phase is Phase.ABSENT and after.phase is Phase.INCOMING)


@given(tokens, events, copies)
def test_a_running_guest_is_ended_only_for_a_higher_epoch(
    token: Token, event: handoff.Event, copy: Copy
) -> None:
    if token.phase in (Phase.OWNER, Phase.OFFERED):
        reaction = handoff.react(token, event, copy, PEER)
        if Discard() in reaction.effects:
            assert reaction.token.epoch > token.epoch


@given(tokens, events, copies)
def test_an_event_that_comes_twice_does_no_more_than_once(
    token: Token, event: handoff.Event, copy: Copy
) -> None:
    """But for an offer to a host that still waits for a confirmation: once confirms, twice is taken."""
    once = handoff.react(token, event, copy, PEER)
    if not once.again:
        assert handoff.react(once.token, event, copy, PEER).token == once.token


@given(tokens, events)
def test_what_must_be_given_again_comes_to_an_end(token: Token, event: handoff.Event) -> None:
    """Three times at most: confirm, discard, decide; or take, resume, confirm."""
    copy = Copy.COMPLETE
    for _ in range(3):
        reaction = handoff.react(token, event, copy, PEER)
        token = reaction.token
        copy = Copy.RUNNING if Resume() in reaction.effects else copy
        copy = Copy.NONE if Discard() in reaction.effects else copy
    assert not reaction.again


@pytest.mark.parametrize("phase", [Phase.RELEASED, Phase.INCOMING])
def test_a_takeover_waits_until_the_old_copy_is_gone(phase: Phase) -> None:
    token = Token(phase, 5, PEER, "m1")
    fenced = handoff.PeerFenced(PEER, "it is off")
    first = handoff.react(token, fenced, Copy.COMPLETE)
    assert (first.token, first.effects, first.again) == (token, (Discard(),), True)
    second = handoff.react(first.token, fenced, Copy.NONE)
    assert second.token == Token(Phase.OWNER, 5 + handoff.TAKEOVER_STEP, "", "m1")
    assert not second.again
