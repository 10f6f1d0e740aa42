"""Trace contexts as W3C has them: what is well-formed is taken over, anything else begins a trace of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.trace import Trace, below, parse

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{ID}-{SPAN}-01"


def test_a_callers_trace_goes_on() -> None:
    assert below(HEADER, "f" * 32, "e" * 16) == Trace(ID, "e" * 16, SPAN)
    assert below(HEADER, "f" * 32, "e" * 16).header == f"00-{ID}-{'e' * 16}-01"


def test_what_the_caller_does_not_want_recorded_is_not() -> None:
    assert not below(f"00-{ID}-{SPAN}-00", "f" * 32, "e" * 16).sampled
    assert below(f"00-{ID}-{SPAN}-03", "f" * 32, "e" * 16).sampled


@pytest.mark.parametrize(
    "header",
    ["", "x", HEADER[:-1], HEADER + "-more", HEADER.upper(), f"01-{ID}-{SPAN}-01",
     f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01"],
)  # fmt: skip
def test_what_is_not_well_formed_is_no_context(header: str) -> None:
    assert parse(header) == Trace()
    assert below(header, "f" * 32, "e" * 16) == Trace("f" * 32, "e" * 16)


@given(st.text())
def test_no_header_is_taken_that_we_would_not_write(header: str) -> None:
    found = parse(header)
    assert not found.id or parse(found.header) == found


@given(st.text(max_size=20), st.text(max_size=20))
def test_spans_below_have_ids_that_follow_and_differ(one: str, other: str) -> None:
    trace = Trace(ID, SPAN)
    assert len(trace.child(one)) == 16
    assert (trace.child(one) == trace.child(other)) == (one == other)
