"""An application between an agent of this version and one that is older: its memory goes as both of them know how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab.variants import Variants
from tests.lab.app_scene import AppScene
from tests.lab.scene import GUEST
from tests.lab.skew import code_of

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]
BEFORE: Final = {"0bf3c68": "no memory goes before", "f5efd17": "memory goes before, known by what it holds"}
"""The last commits whose agents knew only that."""
ALL_AT_ONCE: Final = "all memory is copied while the application stands"


@pytest.fixture(scope="module", params=[pytest.param(commit, id=known) for commit, known in BEFORE.items()])
def mixed(
    request: pytest.FixtureRequest, labs_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AppScene]:
    """host2 has the agent of before."""
    tree = code_of(str(request.param), tmp_path_factory.mktemp("before"))
    made = AppScene(f"v{os.getpid()}", Variants(agents={"host2": str(tree)}))
    made.up()
    yield made
    made.down()


def test_it_goes_to_the_older_agent_and_back_whole(mixed: AppScene) -> None:
    scene = mixed
    scene.begin()
    life = scene.client.life()
    for source, target in (("host1", "host2"), ("host2", "host1")) * 2:
        # Sources of before do not know how long little would take, and wait for what they have never measured.
        limits = {"over_budget": "accept", "deadline_s": 20.0} if source == "host2" else {}
        record = scene.migrate(target, **limits).end("done")
        sent = record["outcome"]["verification"]["verified_bytes"], record["outcome"]["transferred_bytes"]
        print(source, target, record["forecast"]["basis"], sent, record["outcome"]["blackout_s"])
        if source == "host1":
            assert ALL_AT_ONCE in record["forecast"]["basis"]
        assert record["outcome"]["verification"]["verified_bytes"] > 0, "compared at standstill"
        assert scene.client.life() == life
        scene.client.demand_right_memory()
        scene.demand_connected()
        scene.demand_calm()
        assert scene.owner() == target
    assert GUEST in scene.must("app", "list")
