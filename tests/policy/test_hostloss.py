"""A host is fenced only where nobody has a sign of life of it, and never many at once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.fencing import Sight
from segue.policy import hostloss
from segue.policy.hostloss import CONTROLLER, LOST_S, Loss, Word

names = st.sampled_from([CONTROLLER, "host1", "host2", "host3"])
losses = st.builds(
    Loss,
    silent_s=st.floats(0, 100),
    guests=st.integers(0, 5),
    sights=st.dictionaries(names, st.sampled_from(Sight)),
    lost=st.integers(1, 40),
    fleet=st.integers(1, 100),
    upkeep=st.booleans(),
    awaited=st.booleans(),
    is_off=st.booleans(),
)
DEAD = Loss(6.0, 2, {CONTROLLER: Sight.SILENT, "host1": Sight.SILENT}, 1, 3)


@given(losses)
def test_no_host_is_fenced_that_anybody_sees_or_that_nobody_else_was_asked_about(loss: Loss) -> None:
    word, why = hostloss.judge(loss)
    assert why
    if word is Word.FENCE:
        assert Sight.ANSWERS not in loss.sights.values()
        assert loss.fleet == 1 or loss.sights.keys() - {CONTROLLER}
        assert loss.silent_s >= LOST_S
        assert loss.guests > 0 or loss.awaited
        spare = not loss.guests and loss.is_off
        assert spare or loss.lost == 1 or loss.lost <= loss.fleet / 4
        assert not loss.upkeep


@given(losses)
def test_a_sign_of_life_more_never_leads_to_a_fencing(loss: Loss) -> None:
    seen = {**loss.sights, "host9": Sight.ANSWERS}
    after = replace(loss, sights=seen)
    assert hostloss.judge(after)[0] is not Word.FENCE


def test_a_host_that_is_silent_for_all_is_fenced() -> None:
    assert hostloss.judge(DEAD)[0] is Word.FENCE


def test_a_host_without_guests_is_left_alone_unless_others_wait_for_its_word() -> None:
    assert hostloss.judge(replace(DEAD, guests=0))[0] is Word.NOTHING
    assert hostloss.judge(replace(DEAD, guests=0, awaited=True))[0] is Word.FENCE
    assert hostloss.judge(replace(DEAD, guests=0, awaited=True, upkeep=True))[0] is Word.HOLD
    many = replace(DEAD, guests=0, awaited=True, lost=9, fleet=10)
    assert hostloss.judge(many)[0] is Word.HOLD
    assert hostloss.judge(replace(many, is_off=True))[0] is Word.FENCE
    assert hostloss.judge(replace(many, is_off=True, guests=1))[0] is Word.HOLD


def test_a_host_whose_agent_alone_is_dead_is_left_alone() -> None:
    seen = {CONTROLLER: Sight.SILENT, "host1": Sight.ANSWERS}
    word, why = hostloss.judge(Loss(600.0, 2, seen, 1, 3))
    assert word is Word.HOLD
    assert "host1" in why


def test_a_rack_that_vanishes_is_left_to_a_person() -> None:
    assert hostloss.judge(Loss(600.0, 2, DEAD.sights, 2, 7))[0] is Word.HOLD
    assert hostloss.judge(Loss(600.0, 2, DEAD.sights, 2, 8))[0] is Word.FENCE


def test_a_host_whose_network_is_cut_and_that_writes_to_the_storage_is_told_apart() -> None:
    cut = Loss(6.0, 2, {CONTROLLER: Sight.SILENT, "host1": Sight.STORAGE}, 1, 3)
    word, why = hostloss.judge(cut)
    assert word is Word.FENCE, "no client reaches its guests"
    assert "its network is cut" in why
    assert "its network is cut" not in hostloss.judge(DEAD)[1]
