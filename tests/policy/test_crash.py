"""A crashed guest is restarted as often as its operator allows and never more; silence alone is no hang."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.crash import SORT, Cause, Deed, OnCrash
from segue.policy import crash
from segue.policy.crash import HOUR_S, LONGEST_WAIT_S, Pulse, Vitals, answer, felt, is_due, is_silent

causes = st.sampled_from(sorted(SORT))
wishes = st.builds(
    OnCrash,
    qemu=st.sampled_from(Deed),
    panic=st.sampled_from(Deed),
    hang=st.sampled_from(Deed),
    silence=st.sampled_from(Deed),
    unmovable=st.sampled_from((Deed.LEAVE, Deed.ELSEWHERE)),
    per_hour=st.integers(0, 10),
)
times = st.lists(st.floats(0, 2 * HOUR_S), max_size=30)


@given(causes, wishes, st.lists(st.floats(0, 1200.0), min_size=1, max_size=60))
def test_never_more_restarts_within_an_hour_than_allowed(
    cause: Cause, wish: OnCrash, lives_s: list[float]
) -> None:
    """A guest that lives for some time after each restart, and crashes again, whatever it is left for in between."""
    now_s = 0.0
    restarts: list[float] = []
    for life_s in lives_s:
        now_s += life_s
        decided = answer(cause, wish, restarts, now_s)
        if decided.deed is not Deed.LEAVE:
            now_s += decided.wait_s
            restarts.append(now_s)
    for at_s in restarts:
        assert sum(at_s <= other < at_s + HOUR_S for other in restarts) <= wish.per_hour


@given(causes, wishes, times, st.floats(0, 2 * HOUR_S))
def test_what_is_to_be_left_is_left(cause: Cause, wish: OnCrash, before: list[float], now_s: float) -> None:
    decided = answer(cause, wish, before, now_s)
    assert decided.why
    if getattr(wish, SORT[cause]) is Deed.LEAVE:
        assert decided.deed is Deed.LEAVE
    if decided.deed is Deed.LEAVE:
        assert decided.wait_s == 0.0


@given(causes, st.integers(0, 30))
def test_each_further_restart_waits_longer_up_to_a_limit(cause: Cause, before: int) -> None:
    wish = OnCrash(silence=Deed.RESTART, unmovable=Deed.ELSEWHERE, per_hour=100)
    fewer = answer(cause, wish, [0.0] * before, 0.0)
    more = answer(cause, wish, [0.0] * (before + 1), 0.0)
    assert fewer.wait_s <= more.wait_s <= LONGEST_WAIT_S
    assert (fewer.wait_s == 0.0) == (before == 0)


@given(causes, wishes, times, st.floats(0, 2 * HOUR_S))
def test_what_is_restarted_is_restarted_where_it_was_wanted(
    cause: Cause, wish: OnCrash, before: list[float], now_s: float
) -> None:
    decided = answer(cause, wish, before, now_s)
    assert decided.deed in {wish.wanted(cause), Deed.LEAVE}
    elsewhere = answer(cause, replace(wish, **{SORT[cause]: Deed.ELSEWHERE}), before, now_s)  # type: ignore[arg-type]
    here = answer(cause, replace(wish, **{SORT[cause]: Deed.RESTART}), before, now_s)  # type: ignore[arg-type]
    assert (elsewhere.wait_s, elsewhere.why) == (here.wait_s, here.why), "the same limit, and the same rest"


@given(wishes, st.integers(-5, 200))
def test_a_policy_that_cannot_be_meant_is_refused(wish: OnCrash, per_hour: int) -> None:
    assert not list(crash.faults(wish))
    assert bool(list(crash.faults(replace(wish, per_hour=per_hour)))) == (not 0 <= per_hour <= 100)
    assert list(crash.faults(replace(wish, host=Deed.ELSEWHERE)))
    assert list(crash.faults(replace(wish, unmovable=Deed.RESTART)))
    wanted = {getattr(wish, sort) for sort in SORT.values()}
    assert crash.goes_elsewhere(wish) == (Deed.ELSEWHERE in wanted)


def test_a_guest_without_its_memory_is_left_to_a_person() -> None:
    assert answer(Cause.MEMORY_LOST, OnCrash(), [], 0.0).deed is Deed.LEAVE


def test_old_restarts_are_forgotten() -> None:
    wish = OnCrash(per_hour=1)
    assert answer(Cause.PANIC, wish, [0.0], HOUR_S - 1).deed is Deed.LEAVE
    assert answer(Cause.PANIC, wish, [0.0], HOUR_S).deed is Deed.RESTART


pulses = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=40)


@given(pulses)
def test_a_guest_is_silent_only_after_it_spoke_and_gave_no_sign_for_long(
    seen: list[tuple[bool, int]],
) -> None:
    vitals, moved, alive_s = Vitals(), 0, 0.0
    for n, (answers, step) in enumerate(seen, start=1):
        moved += step
        before = vitals.moved
        vitals = felt(vitals, Pulse(n * 5.0, answers, moved))
        if answers or moved != before:
            alive_s = n * 5.0
        spoke = any(answered for answered, _ in seen[:n])
        assert is_silent(vitals) == (spoke and n * 5.0 - alive_s >= crash.SILENT_S)


@given(st.floats(0, 1e9), st.floats(0, LONGEST_WAIT_S), st.floats(-1e8, 1e8))
def test_a_clock_that_is_set_holds_a_restart_up_by_no_more_than_it_may_wait(
    decided_s: float, wait_s: float, jump_s: float
) -> None:
    due_s = decided_s + 1e9 + wait_s
    assert is_due(due_s, due_s)
    assert not is_due(due_s, due_s - wait_s - 1e-3) or wait_s + 1e-3 > LONGEST_WAIT_S
    set_s = due_s - wait_s + jump_s
    assert any(is_due(due_s, set_s + later_s) for later_s in (0.0, wait_s, LONGEST_WAIT_S))
    assert not is_due(0.0, set_s)
