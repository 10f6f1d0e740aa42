"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.cli import values
from segue.errors import Kind, Refused


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("10s", 10), ("5m", 300), ("1h", 3600), ("2", 2)]
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("256MiB", 256 << 20), ("4GiB", 4 << 30), ("1g", 1 << 30), ("1.5k", 1536), ("2MB", 2_000_000)],
)
def test_sizes(text: str, count: int) -> None:
    assert values.size_bytes(text) == count


@pytest.mark.parametrize(("text", "rate"), [("1gbit", 125_000_000), ("100MiB/s", 100 << 20), ("0", 0)])
def test_rates(text: str, rate: int) -> None:
    assert values.rate_bytes_per_s(text) == rate


@given(st.text(max_size=12))
def test_anything_else_is_refused_as_usage(text: str) -> None:
    for read in (values.duration_s, values.size_bytes, values.rate_bytes_per_s):
        try:
            assert read(text) >= 0
        except Refused as error:
            assert error.kind is Kind.USAGE  # noqa: PT017 - what is not refused must be a number
            assert error.todo  # noqa: PT017
