"""The table of who could run twice: each case names a story that is played, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from segue.cli import story_file

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT.parent / "docs" / "explanation" / "split-brain.md"
ROW: Final = re.compile(r"^\| (?P<case>.+?) \| .+ \| (?P<story>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
NAMED: Final = re.compile(r"`([^`]+)`(?:, (first|second|third|fourth|fifth|sixth))?")
ORDER: Final = ("first", "second", "third", "fourth", "fifth", "sixth")
WITHOUT: Final = {
    "the BMC is another host's, and says off",
    "the source dies while it still serves memory (post-copy)",
    "a guest crashed, is being given to another host, and its own loses power meanwhile; "
    "a third one takes it over",
    "an old journal is put in the place of the newest (a backup, an image)",
    "the agent stands still just then, and the next guard does not hear of all guests",
    "a host with an application is cut off",
    "the same while its application moves, and both copies stand: the source",
    "the same: the target",
    "a host joined while another was off, and has taken its guest over",
}
"""Cases that a rehearsal cannot play, with the reason in the table; a lab test makes them, or they are explored."""


def rows() -> list[tuple[str, str, str]]:
    text = PAGE.read_text().partition("## The cases")[2].partition("\n## ")[0]
    found = [(row["case"], row["story"], row["tests"]) for row in ROW.finditer(text)]
    assert len(found) == text.count("\n| ")
    assert found[0][0] == "case"
    return found[1:]


@pytest.mark.parametrize(("case", "story", "tests"), rows(), ids=[case for case, *_ in rows()])
def test_a_case_names_a_story_and_tests_that_are_there(case: str, story: str, tests: str) -> None:
    named = [name for name, _ in NAMED.findall(story)]
    assert set(named) <= set(story_file.names())
    if case in WITHOUT:
        assert story.startswith("none: a rehearsal")
        assert any(where in tests for where in ("`lab/", "explored", "`agent/"))
    else:
        assert named
        assert story == ", ".join(f"`{name}`" for name in named)
    found = NAMED.findall(tests)
    assert found
    for path, place in found:
        written = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / path).read_text(), re.MULTILINE)
        assert len(written) > (ORDER.index(place) if place else 0), (path, place)


def test_no_case_is_excused_that_is_not_there() -> None:
    assert not WITHOUT - {case for case, *_ in rows()}
