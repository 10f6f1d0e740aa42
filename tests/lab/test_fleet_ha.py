"""Three controllers on three etcd members: a host is drained under traffic while the leader and a member die."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from segue.lab.api import Lab
from tests.lab.ha import Drain, HaFleet, demand_nothing_lost
from tests.lab.moves import wait_until

pytestmark = pytest.mark.lab


@pytest.fixture(
    params=[
        pytest.param((3, 3), id="short"),
        pytest.param((4, 12), id="whole", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ]
)
def fleet(request: pytest.FixtureRequest, labs_folder: object) -> Iterator[HaFleet]:
    hosts, guests = request.param
    made = HaFleet(f"ha{os.getpid()}", hosts)
    try:
        made.up()
        made.make_guests("host1", [f"g{number}" for number in range(1, guests + 1)])
        yield made
    finally:
        Lab(made.lab.places.name).down()


@pytest.mark.slow
def test_the_leader_and_a_member_die_in_the_middle_of_a_drain_and_nothing_is_lost(fleet: HaFleet) -> None:
    wait_until(lambda: fleet.status()["guests"] == len(fleet.guests), "all guests are reported")
    watching, leader, epoch = fleet.traffic(), fleet.leader(), fleet.status()["epoch"]
    fleet.segue("host", "drain", "host1", "--max-blackout", "5s", "--parallel", "2", "--detach")
    drain = Drain(fleet, "host1", fleet.segue("task", "list", "-o", "json")[0]["id"], frozenset())
    wait_until(lambda: len(fleet.names_on("host1")) < len(fleet.guests), "a first guest has moved")
    fleet.lab.kill(leader)
    fleet.lab.kill("etcd2")
    killed_s = time.monotonic()
    fleet.wait_for_another(leader)
    print(f"{leader} and etcd2 are off; another leads after {time.monotonic() - killed_s:.1f} s")
    drain.end(400.0)
    print(f"the drain has ended {time.monotonic() - killed_s:.1f} s after")
    demand_nothing_lost(watching)
    assert fleet.status()["epoch"] > epoch
    fleet.lab.start(leader)
    fleet.lab.start("etcd2")
    wait_until(lambda: fleet.member_is_well("etcd2"), "the member that was off takes part again")
    assert fleet.leader() != leader, "one that comes back does not lead: somebody does"
