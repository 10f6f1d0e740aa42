"""`segue host verify` outlives its leader: no false alarm, and no burn-in guest that is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.controller.rig import Rig
from tests.controller.tried import TriedHost

pytestmark = pytest.mark.slow


async def fleet(rig: Rig) -> tuple[TriedHost, TriedHost]:
    for name in ("c1", "c2"):
        rig.start(name)
    one, two = [await TriedHost.made(rig, name) for name in ("host1", "host2")]
    await rig.up(2)
    return one, two


async def verify(rig: Rig, **wish: Any) -> str:
    """host1's; the number of the task."""
    return str((await rig.call("POST", "/hosts/host1/verify", {"burn_s": 2.0, **wish}))["id"])


async def kill_leader(rig: Rig) -> None:
    leader = (await rig.call("GET", "/status"))["leader"]
    rig.controllers[0 if leader == "c1" else 1].kill()


async def passed(rig: Rig, number: str, *hosts: TriedHost) -> None:
    """It ends so, and nothing is left of it."""
    ended = await rig.ended(number, 120.0)
    assert (ended["state"], ended["note"]) == ("done", "host1 has passed"), rig.logs()
    last = await rig.call("GET", "/hosts/host1/verification")
    assert last["ok"], last
    assert [host.names() for host in hosts] == [[] for _ in hosts]


async def test_a_guest_that_is_still_being_made_for_the_dead_leader_is_no_conflict(rig: Rig) -> None:
    one, two = await fleet(rig)
    one.may_make.clear()
    one.makes_after_doctors = 2
    number = await verify(rig, stay=True)
    await rig.until("it is asked for a guest", lambda: one.making)
    await kill_leader(rig)
    await passed(rig, number, one, two)
    assert len(set(one.making)) == 1


async def test_one_that_runs_or_moves_when_the_leader_dies_is_ended_and_it_begins_anew(rig: Rig) -> None:
    one, two = await fleet(rig)
    rig.world.move_s = 3.0
    number = await verify(rig)
    await rig.until("it moves", lambda: rig.world.begun)
    await kill_leader(rig)
    await passed(rig, number, one, two)
    assert len(one.making) == 2


async def test_a_host_that_connects_late_to_the_new_leader_is_no_bad_host(rig: Rig) -> None:
    one, two = await fleet(rig)
    number = await verify(rig, burn_s=4.0, stay=True)
    await rig.until("it runs", one.names)
    await kill_leader(rig)
    await one.hang_up()
    await rig.until("another leads", lambda: rig.caller().call("GET", "/status")["hosts_up"] == 1, 60.0)
    # Longer than the leader gathers hosts: it goes on without this one, and asks the agent that is away.
    await rig.until("it is tried", lambda: "doctor" in rig.caller().call("GET", f"/tasks/{number}")["note"])
    await asyncio.sleep(3.0)
    one.dial()
    await passed(rig, number, one, two)


async def test_one_that_was_cancelled_while_its_guest_was_made_leaves_nothing(rig: Rig) -> None:
    one, two = await fleet(rig)
    one.may_make.clear()
    number = await verify(rig)
    await rig.until("it is asked for a guest", lambda: one.making)
    await kill_leader(rig)
    await rig.until("another leads", lambda: rig.caller().call("GET", "/status")["hosts_up"] == 2, 60.0)
    await rig.call("POST", f"/tasks/{number}/cancel")
    assert (await rig.ended(number, 60.0))["state"] == "cancelled"
    one.may_make.set()
    await rig.until("it is made", one.names)
    await rig.until("it is gone again", lambda: not one.names(), 40.0)
    assert two.names() == []
