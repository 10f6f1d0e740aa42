"""An application between an agent of this version and one that is older: its memory goes as both of them know how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab.variants import Variants
from tests.lab.app_scene import AppScene
from tests.lab.skew import code_of

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]


class Mixed(AppScene):
    """host2 has the agent of before."""

    gives_back: bool
    on_demand = False


BEFORE: Final = {"0bf3c68": "no memory goes before", "f5efd17": "memory goes before, known by what it holds"}
"""The last commits whose agents knew only that."""
STAYS: Final = "f5efd17"
"""As a source it waits for a speed that too few bytes would show it: it has to be updated before."""
ALL_AT_ONCE: Final = "all memory is copied while the application stands"


@pytest.fixture(scope="module", params=[pytest.param(commit, id=known) for commit, known in BEFORE.items()])
def mixed(
    request: pytest.FixtureRequest, labs_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mixed]:
    tree = code_of(str(request.param), tmp_path_factory.mktemp("before"))
    made = Mixed(f"v{os.getpid()}", Variants(agents={"host2": str(tree)}))
    made.gives_back = request.param != STAYS
    made.up()
    yield made
    made.down()


def test_it_goes_to_the_older_agent_and_back_whole(mixed: Mixed) -> None:
    scene = mixed
    scene.begin()
    life = scene.client.life()
    for source, target in (("host1", "host2"), ("host2", "host1")) * 2:
        returns = source == "host1" or scene.gives_back
        # A source that waits in vain gives up at the deadline.
        record = scene.migrate(target, deadline_s=60.0).end("done" if returns else "aborted")
        print(source, target, record["forecast"]["basis"], record["outcome"]["blackout_s"])
        owner = target if record["stage"] == "done" else source
        if source == "host1":
            assert ALL_AT_ONCE in record["forecast"]["basis"]
        if record["stage"] == "done":
            assert record["outcome"]["verification"]["verified_bytes"] > 0, "compared at standstill"
        assert scene.client.life() == life
        scene.client.demand_right_memory()
        scene.demand_connected()
        scene.demand_calm()
        assert scene.owner() == owner
        if owner == source:
            return
