"""A fleet as its controller knows it can be rehearsed: hosts, guests and room arrive as they are."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from segue.cli import fleet_live
from segue.model.fleet import Taint
from segue.model.migration import Forecast
from segue.model.task import TaskState
from segue.sim import rehearsal, scenario
from tests.controller.rig import Rig
from tests.controller.toy import GIB

ORDER: dict[str, Any] = {
    "name": "feed-a",
    "scope": {"label": "feed", "value": "a"},
    "procedure": [
        {"kind": "cordon"},
        {"kind": "drain"},
        {"kind": "run", "script": "apt-get update", "takes_s": 600.0},
        {"kind": "reboot", "takes_s": 200.0},
        {"kind": "health"},
        {"kind": "uncordon"},
        {"kind": "return"},
    ],
}


async def test_tonights_drain_is_played_on_the_fleet_as_it_is(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1", {"rack": "r1"})
    two = await rig.host("host2", {"rack": "r2"})
    one.add("web1", GIB)
    one.add("big1", 5 * GIB)
    two.add("web2", GIB)
    one.add("off", state="stopped")
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 4)
    seen = (await asyncio.to_thread(fleet_live.seen, rig.caller())).fleet
    assert {host.name: host.memory_bytes for host in seen.hosts} == {"host1": 8 * GIB, "host2": 8 * GIB}
    assert {guest.name: guest.host for guest in seen.guests} == {
        "web1": "host1",
        "big1": "host1",
        "web2": "host2",
    }
    result = await asyncio.to_thread(rehearsal.play, scenario.of_fleet(seen, ("host1",), "x"))
    assert not result.wrong
    assert {migration.guest for migration in result.migrations} == {"web1", "big1"}
    assert [task.state for task in result.tasks] == [TaskState.DONE]
    await _decide_and_look_again(rig)


async def _decide_and_look_again(rig: Rig) -> None:
    """What people decided is taken over, and keeps a guest."""
    for name in ("web1", "web2"):
        await rig.call("PATCH", f"/guests/{name}/wishes", {"labels": {"app": "web"}, "importance": 3})
    await rig.call("POST", "/rules", {"name": "apart", "spread": "apart", "members": {"app": "web"}})
    await rig.call("PUT", "/domains/rack/r1", {"within": {"feed": "a"}, "uplink_bytes_per_s": 10**9})
    await rig.call("PATCH", "/hosts/host2", {"taints": {"old": False}, "cpu_overcommit": 2.0})
    live = (await asyncio.to_thread(fleet_live.seen, rig.caller())).fleet
    first, second = live.hosts
    assert (first.labels, first.taints) == ({"rack": "r1", "feed": "a"}, ())
    assert (second.taints, second.cpu_overcommit) == ((Taint("old", hard=False),), 2.0)
    assert [(rule.name, rule.hard) for rule in live.rules] == [("apart", True)]
    assert [(each.value, each.bytes_per_s) for each in live.uplinks] == [("r1", 1e9)]
    assert {
        guest.name for guest in live.guests if guest.labels == {"app": "web"} and guest.importance == 3
    } == {"web1", "web2"}
    result = await asyncio.to_thread(rehearsal.play, scenario.of_fleet(live, ("host1",), "x"))
    assert {migration.guest for migration in result.migrations} == {"big1"}
    assert "rule apart" in result.tasks[0].staying["web1"]


@pytest.mark.slow
async def test_links_and_loads_are_those_of_the_fleet_and_what_nobody_told_is_said(rig: Rig) -> None:
    rig.start()
    one, two = await rig.host("host1"), await rig.host("host2")
    one.add("busy1", 4 * GIB)
    two.add("web1", GIB)
    rig.world.cores["busy1"] = 1.5
    rig.world.forecasts["busy1"] = Forecast(40.0, 30.0, 50.0, 0.1, 0.05, 0.2, 4 * GIB, 3e7, 1.25e8, True, "")
    await rig.up(2)
    await rig.call("PATCH", "/hosts/host2", {"link_bytes_per_s": 1_250_000_000})
    begun = await rig.call("POST", "/guests/busy1/migrations", {"to": "host2"})
    await rig.ended(begun["id"])
    await rig.until("the load is told", lambda: sum(len(h["guests"]) for h in rig.caller().all("/load")) == 2)
    live = await asyncio.to_thread(fleet_live.seen, rig.caller())
    assert {host.name: host.link_bytes_per_s for host in live.fleet.hosts} == {
        "host1": 125e6,
        "host2": 1.25e9,
    }
    known = {guest.name: guest for guest in live.fleet.guests}
    assert (known["busy1"].dirty_bytes_per_s, known["busy1"].load.cpu_cores) == (3e7, 1.5)
    assert (known["web1"].dirty_bytes_per_s, known["web1"].load.cpu_cores) == (0.0, 0.0)
    assert [what.partition(":")[0] for what in live.unknown] == ["web1 writes nothing"]
    busy = rehearsal.play(scenario.of_fleet(live.fleet, ("host2",), "x"))
    idle = replace(live.fleet, guests=tuple(replace(g, dirty_bytes_per_s=0.0) for g in live.fleet.guests))
    tame = rehearsal.play(scenario.of_fleet(idle, ("host2",), "x"))
    assert not busy.wrong
    assert busy.blackouts_s["busy1"] > 2 * tame.blackouts_s["busy1"]


async def test_a_planned_maintenance_is_played_by_its_name(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1", {"feed": "a"})
    two = await rig.host("host2", {"feed": "b"})
    one.add("web1", GIB)
    two.add("web2", GIB)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    await rig.call("PUT", "/maintenances/feed-a", ORDER)
    said = await rig.segue("rehearse", "--context", "--maintenance", "feed-a", "-o", "json")
    assert said.returncode == 0, said.stdout + said.stderr
    played = json.loads(said.stdout)
    assert [(task["kind"], task["state"]) for task in played["tasks"]] == [("maintenance", "done")]
    moves = [(m["guest"], m["source"], m["target"]) for m in played["migrations"]]
    assert moves == [("web1", "host1", "host2"), ("web1", "host2", "host1")]
    (work,) = played["maintenances"]
    assert (work["host"], work["state"]) == ("feed-a/host1", "done")
    assert 800 < work["ended_s"] - work["begun_s"] < 900
    assert rig.world.begun == []
    assert (await rig.call("GET", "/maintenances/feed-a"))["maintenance"]["task"] == ""
    unknown = await rig.segue("rehearse", "--context", "--maintenance", "feed-b")
    assert unknown.returncode not in {0, 1}
    assert "feed-b" in unknown.stderr
