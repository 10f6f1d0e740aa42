"""Beside an agent that knows neither of mapped devices nor of a description left out: QEMU waits for ever for one that
it expects, so each way has to agree, and a guest that came from a newer agent has to leave the older one again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab.variants import Variants
from tests.lab.scene import Scene
from tests.lab.skew import code_of

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]
BEFORE: Final = "04608f6"
"""The last commit whose agents always describe."""


@pytest.fixture
def mixed(labs_folder: Path, tmp_path: Path) -> Iterator[Scene]:
    """host2 has the agent of before."""
    made = Scene(f"y{os.getpid()}", Variants(agents={"host2": str(code_of(BEFORE, tmp_path))}))
    made.up()
    yield made
    made.down()


def test_a_guest_goes_to_an_older_agent_and_back_as_often_as_one_likes(mixed: Scene) -> None:
    for target in ("host2", "host1", "host2", "host1"):
        mixed.migrate(target).end("done")
        mixed.demand_calm()
