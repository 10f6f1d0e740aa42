"""Guests get their host's QEMU through the controller: one, or all of a host, each tried once, whoever leads."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from segue.errors import SegueError
from tests.controller.rig import Rig
from tests.controller.test_scopes import bearer
from tests.controller.toy import GIB, ToyHost


async def outdated(rig: Rig, number: int, hosts: int = 1) -> ToyHost:
    """host1 with so many guests that run in an older QEMU than it has, and one that does not."""
    one = await rig.host("host1")
    for other in range(2, hosts + 1):
        await rig.host(f"host{other}")
    for guest in range(number):
        one.add(f"g{guest}", GIB // 8, is_outdated=True)
    one.add("new1", GIB // 8)
    await rig.up(hosts)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == number + 1)
    return one


async def due(rig: Rig) -> list[str]:
    shown = (await rig.call("GET", "/guests"))["items"]
    return [guest["name"] for guest in shown if guest["qemu_outdated"]]


async def test_all_outdated_guests_of_a_host_a_few_at_once(rig: Rig) -> None:
    rig.start()
    await outdated(rig, 5)
    begun = await rig.call("POST", "/hosts/host1/update", {"parallel": 2})
    ended = await rig.ended(begun["id"])
    assert (ended["state"], sorted(ended["moved"])) == ("done", [f"g{n}" for n in range(5)]), ended
    assert ended["note"] == "5 of 5 guests of host1 got the QEMU that is installed"
    assert await due(rig) == []
    assert rig.world.most_at_once <= 2
    assert Counter(rig.world.begun) == {(f"g{n}", "host1", "host1"): 1 for n in range(5)}


async def test_where_all_are_new_there_is_nothing_to_do(rig: Rig) -> None:
    rig.start()
    one = await outdated(rig, 0)
    ended = await rig.ended((await rig.call("POST", "/hosts/host1/update", {}))["id"])
    assert (ended["state"], ended["moved"], rig.world.begun) == ("done", [], []), ended
    one.qemu_is_gone = True
    gone = await rig.ended((await rig.call("POST", "/hosts/host1/update", {}))["id"])
    assert (gone["state"], gone["failure"]["why"]) == ("failed", "this host's QEMU cannot be used")
    one.qemu_is_gone = False
    again = await rig.ended((await rig.call("POST", "/hosts/host1/update", {"again": True}))["id"])
    assert (again["state"], again["moved"]) == ("done", ["new1"])


async def test_one_that_is_refused_stays_with_the_reason_and_is_asked_for_once(rig: Rig) -> None:
    rig.start()
    one = await outdated(rig, 3)
    one.refuses.add("g1")
    ended = await rig.ended((await rig.call("POST", "/hosts/host1/update", {}))["id"])
    assert (ended["state"], sorted(ended["moved"])) == ("partial", ["g0", "g2"])
    assert "not one that QEMU can hand over" in ended["staying"]["g1"]
    assert [guest for guest, *_ in rig.world.begun] == ["g0", "g2"]


async def test_it_moves_to_another_host_where_it_may(rig: Rig) -> None:
    rig.start()
    one = await outdated(rig, 1, hosts=2)
    one.refuses.add("g0")
    alone = await rig.ended((await rig.call("POST", "/guests/g0/update", {}))["id"])
    assert (alone["state"], alone["migration"]) == ("failed", "")
    assert "not one that QEMU can hand over" in alone["failure"]["why"]
    ended = await rig.ended((await rig.call("POST", "/guests/g0/update", {"or_migrate": "host2"}))["id"])
    assert (ended["state"], rig.world.begun) == ("done", [("g0", "host1", "host2")])
    record = await rig.call("GET", f"/migrations/{ended['migration']}")
    assert (record["id"], record["target"]) == (ended["migration"], "host2")


async def test_another_leader_goes_on_and_begins_none_twice(rig: Rig) -> None:
    rig.start("c1"), rig.start("c2")
    await rig.until("one leads", lambda: rig.caller().call("GET", "/status")["leader"] != "")
    leader = (await rig.call("GET", "/status"))["leader"]
    rig.world.move_s = 0.6
    await outdated(rig, 4)
    begun = await rig.call("POST", "/hosts/host1/update", {"parallel": 1})
    await rig.until("a second one was begun", lambda: len(rig.world.begun) >= 2)
    rig.controllers[0 if leader == "c1" else 1].kill()
    ended = await rig.ended(begun["id"], 60.0)
    assert (ended["state"], len(ended["moved"])) == ("done", 4), ended
    assert set(Counter(rig.world.begun).values()) == {1}
    assert rig.world.most_at_once == 1


async def test_paused_and_cancelled(rig: Rig) -> None:
    rig.start()
    rig.world.move_s = 0.4
    await outdated(rig, 5)
    begun = await rig.call("POST", "/hosts/host1/update", {"parallel": 1})
    path = f"/tasks/{begun['id']}"
    await rig.until("it runs", lambda: rig.world.begun)
    assert (await rig.call("POST", f"{path}/pause"))["state"] == "paused"
    await rig.until("nothing is under way", lambda: rig.world.running_at_once == 0)
    stood = len(rig.world.begun)
    await asyncio.sleep(1.5)
    assert len(rig.world.begun) == stood < 5
    await rig.call("POST", f"{path}/cancel")
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "cancelled"
    assert len(await due(rig)) >= 5 - stood


async def test_a_scope_updates_its_own_guests_alone(rig: Rig) -> None:
    rig.start()
    await outdated(rig, 2, hosts=2)
    await rig.call("PATCH", "/hosts/host1", {"labels": {"team": "web"}})
    await rig.call("PATCH", "/guests/g1/wishes", {"labels": {"team": "web"}})
    web = await bearer(rig, "operator", "olga", {"team": "web"})
    looks = await bearer(rig, "viewer", "vera", {"team": "web"})
    refusals: list[tuple[Any, str, dict[str, str]]] = [
        (looks, "/hosts/host1/update", {}),
        (web, "/hosts/host2/update", {}),
        (web, "/guests/g0/update", {}),
    ]
    for caller, path, wish in refusals:
        with pytest.raises(SegueError):
            await rig.call("POST", path, wish, caller=caller)
    begun = await rig.call("POST", "/hosts/host1/update", {}, caller=web)
    assert (await rig.ended(begun["id"]))["moved"] == ["g1"]
    assert [task["id"] for task in (await rig.call("GET", "/tasks", caller=looks))["items"]] == [begun["id"]]
