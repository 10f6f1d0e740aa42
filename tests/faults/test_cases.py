"""A seed is a case: always the same, always one that can happen, and all kinds come up."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from faults import cases
from faults.cases import Case

MANY = range(600)


@given(st.integers(min_value=0, max_value=1 << 40))
def test_a_case_can_happen(seed: int) -> None:
    case = cases.of_seed(seed)
    assert case == cases.of_seed(seed)
    assert bool(case.place) != bool(case.delay_s) or case.place == cases.AT_WORK
    assert not (case.fault == "kill" and case.hold_s)
    assert not (case.fault == "freeze" and case.hold_s == cases.UNTIL_END)
    if cases.DISKS_TOO in case.follows:
        assert case.disk == cases.PULLED
        assert case.victim != cases.DAEMON, "there is none"
    if cases.needs_local(case.fault, case.victim) and case.disk != cases.APPLICATION:
        assert case.disk.startswith("local")
    if case.disk == cases.APPLICATION:
        at_work = case.place == cases.AT_WORK and case.victim in cases.CRIUS
        assert at_work or not case.place or (case.side, case.place) in cases.app_places(case.victim)
        assert not case.follows
    elif case.place:
        assert (case.side, case.place) in cases.places(case.victim)


def test_every_kind_comes_up() -> None:
    every = [cases.of_seed(seed) for seed in MANY]
    applications = [case for case in every if case.disk == cases.APPLICATION]
    assert len(applications) == len(every) // cases.APP_EVERY
    assert {(case.fault, case.victim) for case in applications} == set(cases.APP_HITS)
    seen = [case for case in every if case.disk != cases.APPLICATION]
    assert {(case.fault, case.victim) for case in seen} == set(cases.HITS)
    assert {case.disk for case in seen} == set(cases.DISKS)
    assert {case.follows for case in seen} == set(cases.FOLLOWS)
    assert {case.hold_s for case in seen} == {0.0, cases.UNTIL_END, *cases.HOLDS_S}
    assert {place for case in seen if (place := (case.side, case.place))[1]} >= set(cases.TOKENS)


def test_a_process_is_only_hit_while_it_can_be_there() -> None:
    assert ("source", "begun reserve target") not in cases.places("target qemu")
    assert ("source", "done reserve target") in cases.places("target qemu")
    assert cases.places(cases.DAEMON)[0] == ("source", "done reserve storage")
    assert cases.places(cases.DAEMON)[-1] == ("source", "begun hand off")


def test_a_case_in_words() -> None:
    case = Case(1, "local raw", "freeze", "source qemu", "target", "after owner", hold_s=2.0)
    assert str(case) == "local raw: freeze source qemu, target after owner, for 2.0 s"
    after = replace(case, follows="memory")
    assert str(after) == "local raw, memory after it: freeze source qemu, target after owner, for 2.0 s"
    assert after.limits == {"post_copy_after": 0}
