"""The verdicts say what the cases were, and an answer that is not `ok` is never right."""

from __future__ import annotations

from typing import Any

import pytest

from faults import report

GOOD: dict[str, Any] = {
    "fault": "kill",
    "victim": "source qemu",
    "hit": True,
    "crashed_on": "host1",
    "lost": False,
    "double_runs": [],
    "corrupt_blocks": 0,
    "wrong_pages": 0,
    "leftovers": [],
    "ended": "lost",
}
BAD: list[tuple[str, Any, str]] = [
    ("lost", True, "guests lost"),
    ("double_runs", ["two"], "double runs"),
    ("corrupt_blocks", 3, "corrupt blocks"),
    ("wrong_pages", 1, "wrong memory"),
    ("leftovers", ["a tap"], "leftovers"),
]


def broken(outcomes: list[dict[str, Any]], wanted: int) -> list[str]:
    return [verdict["name"] for verdict in report.verdicts(outcomes, wanted) if not verdict["holds"]]


def test_a_guest_that_crashed_with_its_qemu_is_not_lost() -> None:
    assert broken([GOOD], 1) == []
    assert not report.is_bad(GOOD)


@pytest.mark.parametrize(("key", "value", "name"), BAD)
def test_harm_breaks_its_verdict(key: str, value: object, name: str) -> None:
    assert broken([GOOD, {**GOOD, key: value}], 2) == [name]
    assert report.is_bad({**GOOD, key: value})


def test_a_case_that_was_not_played_is_no_try() -> None:
    error = {"seed": 1, "case": "", "error": "the lab did not come up"}
    assert broken([GOOD, error], 2) == ["tries"]
    assert report.is_bad(error)


@pytest.mark.parametrize(("answer", "bad"), [("ok", 0), ("ok 4096", 0), ("bad 7", 7), ("", 1), ("error", 1)])
def test_what_the_guest_answers(answer: str, bad: int) -> None:
    assert report.bad_in(answer) == bad
