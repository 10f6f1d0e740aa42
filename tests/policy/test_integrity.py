"""What is compared: bounded in normal operation, and no difference is overlooked."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from segue.policy import integrity

digests = st.lists(st.sampled_from(["a", "b"]), max_size=30)


@given(st.floats(0.0001, 3600))
def test_a_sample_is_bounded_and_keeps_within_its_share_of_the_budget(budget_s: float) -> None:
    pages = integrity.sample_pages(budget_s)
    assert 1 <= pages <= integrity.SAMPLE_PAGES
    assert pages == 1 or pages * integrity.PAGE_S <= budget_s * integrity.SAMPLE_SHARE


@given(digests, digests)
def test_every_difference_is_found_and_what_is_missing_is_one(ours: list[str], theirs: list[str]) -> None:
    at = list(range(0, len(ours) * 10, 10))
    wrong = set(integrity.differing(at, ours, theirs))
    for number, offset in enumerate(at):
        equal = number < len(theirs) and ours[number] == theirs[number]
        assert (offset in wrong) is not equal


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 30))
def test_the_blocks_cover_all_memory(memory_bytes: int, block_bytes: int) -> None:
    at = integrity.offsets(memory_bytes, block_bytes)
    assert at[0] == 0
    assert at[-1] < memory_bytes <= at[-1] + block_bytes


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_the_differing_blocks_and_nothing_else(blocks: set[int]) -> None:
    found = integrity.ranges([number * 8 for number in blocks], 8)
    assert {byte // 8 for first, end in found for byte in range(first, end)} == blocks
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


def test_a_full_comparison_has_to_fit() -> None:
    assert integrity.full_fits(integrity.full_s(1 << 30, 2 << 30), budget_s=1.0)
    assert not integrity.full_fits(integrity.full_s(1 << 30, 2 << 30), budget_s=0.3)
