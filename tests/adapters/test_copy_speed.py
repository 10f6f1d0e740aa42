"""What a copy learns of its guest from one look after another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.adapters.qemu.speed import Writes

LOOKS = st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.001, 10.0)), min_size=1, max_size=20)


@given(LOOKS)
def test_the_mean_lies_between_what_was_seen(looks: list[tuple[int, float]]) -> None:
    writes = Writes()
    for found_bytes, span_s in looks:
        writes.see(found_bytes, span_s)
    rates = [found_bytes / span_s for found_bytes, span_s in looks]
    assert min(rates) * (1 - 1e-9) <= writes.bytes_per_s <= max(rates) * (1 + 1e-9)


def test_a_burst_between_two_looks_is_no_guest_that_outruns_its_path() -> None:
    """A guest that was paused for such a burst took all of it into its blackout."""
    writes = Writes()
    writes.see(60_000_000, 1.0)
    writes.see(15_000_000, 0.07)
    assert writes.bytes_per_s < 100e6, "and not the 214 MB/s of those 70 ms"


def test_a_guest_that_writes_more_from_now_on_is_believed_within_a_second() -> None:
    writes = Writes()
    writes.see(1_000_000, 1.0)
    for _ in range(10):
        writes.see(20_000_000, 0.1)
    assert writes.bytes_per_s == pytest.approx(200e6, rel=0.05)
