"""Which tests may run side by side (`make test` has three processes), and which need their own."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.thorough import examples

settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
)
settings.load_profile(
    "busy"
)  # How fast examples are drawn says something of the machine, and nothing of the code.

MOVES = "moves"
"""Guests that move between the hosts of one lab, one after another."""
OTHER_MOVES = "other moves"
"""The second half of them by name, in a lab of its own."""
OTHERS_FROM = "test_migrate_faults_"
FLEETS = "fleets"
"""Whole fleets, each in a lab of its own: they are the next in size."""
LONGEST = (MOVES, OTHER_MOVES, FLEETS)
ON_THE_STAGE = ("test_migrate_", "test_faults_", "test_guest_", "test_doctor")
TOGETHER = ("contracts",)
"""Folders whose tests share a cluster."""


def group_of(file: PurePath) -> str:
    """Tests of one group run in one process, in their order, and share a lab or a cluster."""
    if file.parent.name == "lab" and file.name.startswith(ON_THE_STAGE):
        return MOVES if file.name < OTHERS_FROM else OTHER_MOVES
    if file.parent.name == "lab" and file.name.startswith("test_fleet_"):
        return FLEETS
    return file.parent.name if file.parent.name in TOGETHER else str(file)


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """A process that has nothing to do gets the next group."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(PurePath(nodeid.partition("::")[0]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Groups:
    """Where tests are distributed at all (-n)."""
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The groups that take longest begin first, and then whatever mostly waits."""

    def rank(item: pytest.Item) -> int:
        group = group_of(item.path)
        if group in LONGEST:
            return LONGEST.index(group)
        return len(LONGEST) + (0 if item.get_closest_marker("lab") else 1)

    items.sort(key=rank)
