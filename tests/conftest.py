"""Which tests may run side by side (`make test` uses two processes), and which need the machine for themselves."""

from __future__ import annotations

import pytest

MOVES = "moves"
"""Guests that move under traffic: they run last, one after another, when nothing else uses the processors."""
ALONE = ("test_migrate_", "test_fleet_", "test_faults_", "test_guest_")


def group_of(item: pytest.Item) -> str:
    """Tests of one group share a process, and with it a lab or a cluster; empty: anywhere."""
    if item.get_closest_marker("lab") is None:
        return ""
    if item.path.name.startswith(ALONE) or "stage" in getattr(item, "fixturenames", ()):
        return MOVES
    return item.path.parent.name if item.path.parent.name != "lab" else item.path.stem


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long and mostly waits begins first, what must not be disturbed comes last."""
    for item in items:
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: {"": 1, MOVES: 2}.get(group_of(item), 0))
