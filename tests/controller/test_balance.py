"""The load is levelled as planned, within its limits, whoever leads; and not while a drain needs the room."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from segue.errors import SegueError
from tests.controller.rig import Rig
from tests.controller.toy import GIB


async def uneven(rig: Rig, hosts: int = 3, guests: int = 6, controllers: tuple[str, ...] = ("c1",)) -> None:
    """All guests are on host1, and each uses a processor of its eight."""
    for name in controllers:
        rig.start(name)
    for number in range(1, hosts + 1):
        await rig.host(f"host{number}")
    for number in range(guests):
        rig.world.cores[f"g{number}"] = 1.0
        rig.world.hosts["host1"].add(f"g{number}", GIB // 2)
    await rig.up(hosts)
    await told(rig, hosts, guests)


async def told(rig: Rig, hosts: int, guests: int) -> None:
    def look() -> bool:
        load = rig.caller().all("/load")
        return len(load) == hosts and sum(len(host["guests"]) for host in load) == guests

    await rig.until("the load is told", look)


def spread(rig: Rig) -> list[int]:
    return sorted(len(host.names()) for host in rig.world.hosts.values())


async def settled(rig: Rig) -> Any:
    """The task of the balancer itself, once it has ended."""

    def look() -> Any:
        tasks = [task for task in rig.caller().all("/tasks") if task["kind"] == "balance"]
        return tasks[0] if tasks and tasks[0]["ended_s"] else None

    return await rig.until("the balancer has balanced", look, 40.0)


async def test_a_plan_is_explained_and_carried_out_as_it_was_shown(rig: Rig) -> None:
    await uneven(rig)
    planned = await rig.call("POST", "/balance/plan", {})
    moves = [move for wave in planned["plan"]["plan"]["waves"] for move in wave["moves"]]
    assert len(moves) == 4
    assert all("host1 then at" in move["why"] for move in moves)
    begun = await rig.call("POST", "/balance/tasks", {"parallel": 1})
    shown = [(move["guest"], move["target"]) for move in begun["wish"]["moves"]]
    assert sorted(shown) == sorted((move["guest"], move["target"]) for move in moves)
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "done", ended
    assert sorted((guest, target) for guest, _, target in rig.world.begun) == sorted(shown)
    assert rig.world.most_at_once <= 2, "one from host1 at once, and no more"
    assert spread(rig) == [2, 2, 2]
    seen = await rig.call("GET", "/balance")
    assert {booked["guest"] for booked in seen["bookings"]} == {guest for guest, _ in shown}
    assert all(booked["planned"] > booked["cost"] > 0 for booked in seen["bookings"])
    with pytest.raises(SegueError, match="below"):
        await rig.call("POST", "/balance/tasks", {})


async def test_it_acts_by_itself_after_some_looks_and_leaves_what_it_moved_alone(rig: Rig) -> None:
    await uneven(rig)
    await rig.call("PATCH", "/balance", {"mode": "auto", "look_s": 1, "looks": 2, "realise_after_s": 0})
    ended = await settled(rig)
    assert (ended["state"], ended["by"]) == ("done", "the balancer")
    assert spread(rig) == [2, 2, 2]

    def realised() -> bool:
        bookings = rig.caller().call("GET", "/balance")["bookings"]
        return len(bookings) == 4 and all(booked["realised"] is not None for booked in bookings)

    await rig.until("what the moves brought is booked", realised)
    # The load goes to where the moved ones are: they rest, so that nothing goes back and forth.
    moved = {guest for guest, *_ in rig.world.begun}
    for guest in rig.world.cores:
        rig.world.cores[guest] = 4.0 if guest in moved else 0.0
    planned = await rig.call("POST", "/balance/plan", {})
    going = {move["guest"] for wave in planned["plan"]["plan"]["waves"] for move in wave["moves"]}
    assert not going & moved
    line = (await rig.call("GET", "/audit?limit=500"))["items"]
    assert any(entry["what"].startswith("balance ") and entry["role"] == "controller" for entry in line)


async def test_advice_moves_nothing_and_off_does_not_look(rig: Rig) -> None:
    await uneven(rig)
    await rig.call("PATCH", "/balance", {"look_s": 1, "looks": 1})
    await rig.until("it has looked", lambda: rig.caller().call("GET", "/balance")["state"]["moves"])
    await rig.call("PATCH", "/balance", {"mode": "off"})
    looked = (await rig.call("GET", "/balance"))["state"]["looked_s"]
    await asyncio.sleep(3)
    assert (await rig.call("GET", "/balance"))["state"]["looked_s"] <= looked + 1.5, "one look may have begun"
    assert rig.world.begun == []


async def test_a_drain_comes_first(rig: Rig) -> None:
    await uneven(rig)
    rig.world.move_s = 1.0
    begun = await rig.call("POST", "/balance/tasks", {"parallel": 1})
    await rig.until("a first move is under way", lambda: rig.world.begun)
    drain = await rig.call("POST", "/drains", {"hosts": ["host3"], "parallel": 2})
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "partial"
    assert "a drain needs the room" in ended["staying"].values()
    emptied = await rig.ended(drain["id"])
    assert emptied["state"] == "done", emptied
    assert rig.world.hosts["host3"].names() == []


async def test_a_target_that_is_cordoned_or_dies_gets_no_more(rig: Rig) -> None:
    await uneven(rig)
    rig.world.move_s = 1.0
    begun = await rig.call("POST", "/balance/tasks", {"parallel": 1})
    await rig.until("first moves are under way", lambda: rig.world.begun)
    await rig.call("PATCH", "/hosts/host2", {"cordoned": True})
    await rig.world.hosts["host3"].die()
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "partial"
    assert len(rig.world.begun) <= 3
    said = " ".join(ended["staying"].values())
    assert "takes nothing in any more" in said
    assert len(rig.world.hosts["host1"].names()) >= 4


async def test_another_leader_carries_on_and_moves_nobody_twice(rig: Rig) -> None:
    await uneven(rig, controllers=("c1", "c2"))
    leader = (await rig.call("GET", "/status"))["leader"]
    rig.world.move_s = 0.8
    begun = await rig.call("POST", "/balance/tasks", {"parallel": 1})
    await rig.until("a first guest has moved", lambda: spread(rig) != [0, 0, 6])
    rig.controllers[0 if leader == "c1" else 1].kill()
    ended = await rig.ended(begun["id"], 60.0)
    assert ended["state"] == "done", ended
    assert spread(rig) == [2, 2, 2]
    assert max(Counter(guest for guest, *_ in rig.world.begun).values()) == 1
    bookings = (await rig.call("GET", "/balance"))["bookings"]
    assert sorted(booked["guest"] for booked in bookings) == sorted(ended["moved"])


async def test_a_broken_rule_is_mended_though_the_load_is_level(rig: Rig) -> None:
    await uneven(rig, hosts=2, guests=2)
    for guest in ("g0", "g1"):
        rig.world.cores[guest] = 0.01
        await rig.call("PATCH", f"/guests/{guest}/wishes", {"labels": {"app": "web"}})
    rule = {"name": "web-apart", "spread": "apart", "members": {"app": "web"}}
    assert (await rig.call("POST", "/rules", rule))["warnings"] == []
    await rig.call("PATCH", "/balance", {"mode": "auto", "look_s": 1, "start_at": 5, "stop_at": 5})
    ended = await settled(rig)
    assert ended["state"] == "done"
    assert spread(rig) == [1, 1]
    assert "mends: rule web-apart: 2 of its group in host host1" in ended["wish"]["moves"][0]["why"]


@pytest.mark.parametrize(
    "body", [{"looks": 0}, {"stop_at": 0.5, "start_at": 0.1}, {"parallel": 99}, {"mode": "wild"}]
)
async def test_orders_that_nobody_can_mean(rig: Rig, body: dict[str, Any]) -> None:
    rig.start()
    await rig.until("it answers", lambda: rig.caller().call("GET", "/status"))
    with pytest.raises(SegueError):
        await rig.call("PATCH", "/balance", body)
    assert (await rig.call("GET", "/balance"))["orders"]["mode"] == "advise"
