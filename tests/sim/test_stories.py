"""The stories that come with segue: script in, expected log out. SEGUE_WRITE_STORIES=1 writes what is expected anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segue.cli import story_file
from segue.errors import Refused
from segue.sim import rehearsal

EXPECTED = Path(__file__).parent.parent / "stories"


@pytest.mark.parametrize("name", story_file.names())
def test_a_story_ends_as_it_is_told(name: str) -> None:
    result = rehearsal.play(story_file.load(name))
    assert not result.wrong
    told = "\n".join(result.story()) + "\n"
    path = EXPECTED / f"{name}.txt"
    if os.environ.get("SEGUE_WRITE_STORIES"):
        path.write_text(told)
    assert told == path.read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hosts: {host1: {}}", "tells"),
        ("tells: x\nhosts: {host1: {colour: red}}", "colour"),
        ("tells: x\nhosts: {host1: {}}\nguests: {web1: {host: host2}}", "no host of the story"),
        ("tells: x\nhosts: {host1: {}}\nwanted: [{at: 1, drain: [host9]}]", "host9"),
        ("tells: x\ncontrollers: 0\nhosts: {host1: {}}\nwanted: [{at: 1, drain: [host1]}]", "controller"),
        ("tells: x\nhosts: {host1: {}}\nwanted: [{at: 1, move: web1, to: host1}]", "no guest"),
        ("tells: x\nhosts: {host1: {}}\nfaults: [{at: 1, what: cut power}]", "does not say where"),
        ("tells: x\nhosts: {host1: {}}\nfaults: [{at: 1, what: an earthquake}]", "earthquake"),
        ("tells: [", "while parsing"),
    ],
)
def test_a_story_that_cannot_be_played_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match="cannot be played") as error:
        story_file.load(str(path))
    assert why in error.value.why
