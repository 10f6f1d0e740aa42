"""The link is never promised twice, caps hold, and nobody who wants more gets less than another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.policy.share import shares

budgets = st.integers(1_000, 1 << 40)
caps = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 1 << 41), min_size=1, max_size=9)


@given(budgets, caps)
def test_the_link_is_not_promised_twice(budget: int, wanted: dict[str, int]) -> None:
    assert sum(shares(budget, wanted).values()) <= budget


@given(budgets, caps)
def test_caps_hold(budget: int, wanted: dict[str, int]) -> None:
    for name, given_ in shares(budget, wanted).items():
        assert given_ > 0
        assert not wanted[name] or given_ <= wanted[name]


@given(budgets, caps)
def test_nobody_who_could_use_more_gets_less_than_another(budget: int, wanted: dict[str, int]) -> None:
    found = shares(budget, wanted)
    most = max(found.values())
    for name, given_ in found.items():
        assert given_ == wanted[name] or given_ >= most - len(wanted)


@given(caps)
def test_without_a_budget_everybody_has_its_own_cap(wanted: dict[str, int]) -> None:
    assert shares(0, wanted) == wanted
