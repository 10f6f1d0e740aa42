"""A drain goes on whatever dies: hosts end empty, no guest is moved twice, what cannot go is told with its reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from segue.errors import Kind, Refused
from tests.controller.rig import Rig
from tests.controller.toy import GIB


async def test_a_host_is_emptied_within_its_limits(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1")
    for name in ("host2", "host3"):
        await rig.host(name)
    for number in range(8):
        one.add(f"g{number}")
    one.add("off", state="stopped")
    await rig.up(3)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 9)
    wish = {"hosts": ["host1"], "parallel": 2}
    plan = await rig.call("POST", "/drains/plan", wish)
    assert sum(len(wave["moves"]) for wave in plan["waves"]) == 8
    begun = await rig.call("POST", "/drains", wish)
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "partial", ended
    assert "stopped" in ended["staying"]["off"]
    assert sorted(ended["moved"]) == [f"g{n}" for n in range(8)]
    assert one.names() == ["off"]
    assert rig.world.most_at_once <= 2
    assert max(Counter(guest for guest, *_ in rig.world.begun).values()) == 1
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


async def test_who_does_not_say_which_hosts_empties_none(rig: Rig) -> None:
    """A list that came out empty in a script must not mean all of them."""
    rig.start()
    await rig.host("host1", {"rack": "r1"})
    await rig.host("host2")
    await rig.up(2)
    unclear: list[dict[str, Any]] = [
        {},
        {"hosts": []},
        {"label": "rack"},
        {"value": "r1"},
        {"hosts": ["host2"], "label": "rack", "value": "r1"},
        {"hosts": ["host2"], "parallel": -5},
        {"hosts": ["host2"], "parallel": 17},
    ]
    for wish in unclear:
        for path in ("/drains/plan", "/drains"):
            with pytest.raises(Refused) as error:
                await rig.call("POST", path, wish)
            assert error.value.kind is Kind.USAGE, wish
    assert (await rig.call("GET", "/tasks"))["items"] == []
    assert not any(host["cordoned"] for host in (await rig.call("GET", "/hosts"))["items"])
    with pytest.raises(Refused, match="twice"):
        await rig.call("GET", "/hosts?selector=rack=r1,rack=r2")


async def test_another_leader_goes_on_where_the_first_one_died(rig: Rig) -> None:
    first, _ = rig.start("c1"), rig.start("c2")
    await rig.until("c1 leads", lambda: rig.caller().call("GET", "/status")["leader"] != "")
    leader = (await rig.call("GET", "/status"))["leader"]
    one, rig.world.move_s = await rig.host("host1"), 0.6
    await rig.host("host2")
    for number in range(6):
        one.add(f"g{number}", GIB // 4)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 6)
    begun = await rig.call("POST", "/drains", {"hosts": ["host1"], "parallel": 1})
    await rig.until("a first guest has moved", rig.world.hosts["host2"].names)
    rig.controllers[0 if leader == "c1" else 1].kill()
    ended = await rig.ended(begun["id"], 60.0)
    assert ended["state"] == "done", ended
    assert one.names() == []
    assert max(Counter(guest for guest, *_ in rig.world.begun).values()) == 1
    assert rig.world.most_at_once == 1
    assert len(one.epochs) >= 2
    assert one.epochs == sorted(one.epochs)
    assert first is rig.controllers[0]


async def test_a_target_that_dies_is_planned_around(rig: Rig) -> None:
    rig.start()
    one, rig.world.move_s = await rig.host("host1"), 0.5
    two, three = await rig.host("host2"), await rig.host("host3")
    for number in range(4):
        one.add(f"g{number}", GIB // 4)
    await rig.up(3)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 4)
    begun = await rig.call("POST", "/drains", {"hosts": ["host1"], "parallel": 4})
    await rig.until("moves to host2 were begun", lambda: [m for m in rig.world.begun if m[2] == "host2"])
    await two.die()
    ended = await rig.ended(begun["id"], 60.0)
    assert ended["state"] == "done", ended
    assert one.names() == []
    assert set(three.names()) | set(two.names()) == {f"g{n}" for n in range(4)}


async def test_paused_resumed_and_cancelled(rig: Rig) -> None:
    rig.start()
    one, rig.world.move_s = await rig.host("host1"), 0.4
    await rig.host("host2")
    for number in range(6):
        one.add(f"g{number}", GIB // 4)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 6)
    begun = await rig.call("POST", "/drains", {"hosts": ["host1"], "parallel": 1})
    path = f"/tasks/{begun['id']}"
    await rig.until("it runs", lambda: rig.world.begun)
    assert (await rig.call("POST", f"{path}/pause"))["state"] == "paused"
    await asyncio.sleep(1.0)
    stood = len(rig.world.begun)
    await asyncio.sleep(1.5)
    assert len(rig.world.begun) == stood < 6
    await rig.call("POST", f"{path}/resume")
    await rig.until("it goes on", lambda: len(rig.world.begun) > stood)
    await rig.call("POST", f"{path}/cancel")
    ended = await rig.ended(begun["id"])
    assert ended["state"] == "cancelled"
    assert one.names()


async def test_a_host_that_refuses_is_left_out_and_a_guest_that_fits_nowhere_stays(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1", {"rack": "r1"})
    two, three = await rig.host("host2", {"rack": "r2"}), await rig.host("host3", {"rack": "r2"})
    one.add("picky")
    one.add("giant", 16 * GIB)
    two.refuses.add("picky")
    await rig.up(3)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    begun = await rig.call("POST", "/drains", {"label": "rack", "value": "r1"})
    ended = await rig.ended(begun["id"], 60.0)
    assert three.names() == ["picky"], (ended, two.names())
    assert ended["state"] == "partial"
    assert "short of memory" in ended["staying"]["giant"]
