"""Controllers and their store fail, as real programs: guests do not notice, tasks go on, nothing is done twice."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Final

import pytest

from segue.lab.api import Lab
from tests.lab.ha import MEMBERS, HaFleet, demand_all_answer, demand_nothing_lost
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
slow = pytest.mark.slow
SLOW_BYTES_PER_S: Final = 16 << 20
"""A guest's memory takes some seconds: the fault comes while a copy is under way."""
_rest = threading.Event()


@pytest.fixture(scope="module")
def made(labs_folder: object) -> Iterator[HaFleet]:
    fleet = HaFleet(f"hf{os.getpid()}", hosts=2)
    try:
        fleet.up()
        fleet.make_guests("host1", ["g1", "g2", "g3"])
        yield fleet
    finally:
        Lab(fleet.lab.places.name).down()


@pytest.fixture
def fleet(made: HaFleet) -> Iterator[HaFleet]:
    """Whole before and after each fault."""
    made.wait_whole()
    yield made
    made.mend()
    made.wait_whole(120.0)


@slow
def test_a_leader_is_frozen_and_wakes_up_while_another_leads(fleet: HaFleet) -> None:
    watching, drain, leader = fleet.traffic(("udp",)), fleet.drain(), fleet.leader()
    drain.wait_begun()
    fleet.power(leader, "pause")
    other = fleet.wait_for_another(leader)
    begun = len(drain.begun())
    fleet.power(leader, "cont")
    wait_until(lambda: seen_by(fleet, leader)["leader"] == other, "the old one knows who leads")
    drain.end()
    demand_nothing_lost(watching)
    assert fleet.leader() == other
    assert begun <= len(fleet.guests)


def seen_by(fleet: HaFleet, controller: str) -> dict[str, object]:
    """The status as this controller alone tells it."""
    return dict(fleet.ask_one(controller, "GET", "/status"))


@slow
def test_etcd_loses_its_majority_in_the_middle_of_a_drain_and_gets_it_back(fleet: HaFleet) -> None:
    watching, drain = fleet.traffic(("udp",)), fleet.drain(bandwidth_bytes_per_s=SLOW_BYTES_PER_S)
    drain.wait_begun()
    for member in MEMBERS[:2]:
        fleet.lab.kill(member)
    begun = len(drain.begun())
    wait_until(lambda: not fleet.under_way(), "what was under way has ended by itself", 120.0)
    _rest.wait(8.0)
    assert len(drain.begun()) == begun == 1, "without its store a leader begins nothing"
    assert drain.begun()[0]["stage"] == "done"
    demand_all_answer(fleet)
    assert "No controller sees the store" in fleet.segue("status")
    said = fleet.segue("host", "cordon", "host2", code=8, timeout_s=60.0)
    assert "no controller answers" in said
    for member in MEMBERS[:2]:
        fleet.lab.start(member)
    fleet.wait_whole(120.0)
    drain.end()
    demand_nothing_lost(watching)


@slow
def test_a_leader_that_is_cut_off_from_etcd_alone_makes_room(fleet: HaFleet) -> None:
    watching, drain, leader = fleet.traffic(("udp",)), fleet.drain(), fleet.leader()
    drain.wait_begun()
    fleet.cut_from_store(leader)
    fleet.wait_for_another(leader)
    drain.end()
    demand_nothing_lost(watching)
    said = fleet.segue("status")
    assert f"{leader} (epoch" not in said
    assert "No controller sees" not in said


@slow
def test_a_leader_that_no_agent_reaches_makes_room(fleet: HaFleet) -> None:
    watching, drain, leader = fleet.traffic(("udp",)), fleet.drain(), fleet.leader()
    drain.wait_begun()
    cut_s = time.monotonic()
    for host in fleet.hosts:
        fleet.lab.cut(f"{host}--{leader}")
    other = fleet.wait_for_another(leader, 120.0)
    print(f"{other} leads instead after {time.monotonic() - cut_s:.1f} s")
    drain.end()
    demand_nothing_lost(watching)


@slow
@pytest.mark.parametrize("verb", ["kill", "pause"])
def test_a_host_is_verified_though_the_leader_dies_while_the_burn_in_guest_moves(
    fleet: HaFleet, verb: str
) -> None:
    source = fleet.home()
    words = ("--burn-in", "10s", "--memory", "128MiB", "--detach")
    known = {record["id"] for record in fleet.migrations()}
    fleet.segue("host", "verify", source, *words)
    number = fleet.segue("task", "list", "-o", "json")[0]["id"]
    wait_until(lambda: new_moves(fleet, known), "it moves", 120.0)
    leader = fleet.leader()
    fleet.power(leader, verb)
    fleet.wait_for_another(leader)
    fleet.power(leader, "cont")
    wait_until(lambda: fleet.task(number)["ended_s"], "the verification ends", 200.0)
    task = fleet.task(number)
    assert task["state"] == "done", (task, fleet.logs())
    assert f"{source} has passed" in task["note"]
    assert fleet.names_on(*fleet.hosts) == sorted(fleet.guests)
    moved = new_moves(fleet, known)
    print(f"{verb}: {len(moved)} moves of burn-in guests:", [record["stage"] for record in moved])
    demand_all_answer(fleet)


def new_moves(fleet: HaFleet, known: set[str]) -> list[dict[str, object]]:
    """Each by its source's journal and its target's."""
    return [record for record in fleet.migrations() if record["id"] not in known]
