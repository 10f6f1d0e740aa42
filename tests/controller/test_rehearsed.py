"""A fleet as its controller knows it can be rehearsed: hosts, guests and room arrive as they are."""

from __future__ import annotations

import asyncio

from segue.cli import fleet_live
from segue.model.task import TaskState
from segue.sim import rehearsal, scenario
from tests.controller.rig import Rig
from tests.controller.toy import GIB


async def test_tonights_drain_is_played_on_the_fleet_as_it_is(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1", {"rack": "r1"})
    await rig.host("host2", {"rack": "r2"})
    one.add("web1", GIB)
    one.add("big1", 5 * GIB)
    one.add("off", state="stopped")
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 3)
    seen = await asyncio.to_thread(fleet_live.seen, rig.caller())
    assert {host.name: host.memory_bytes for host in seen.hosts} == {"host1": 8 * GIB, "host2": 8 * GIB}
    assert {guest.name: guest.host for guest in seen.guests} == {"web1": "host1", "big1": "host1"}
    result = await asyncio.to_thread(rehearsal.play, scenario.of_fleet(seen, ("host1",), "x"))
    assert not result.wrong
    assert {migration.guest for migration in result.migrations} == {"web1", "big1"}
    assert [task.state for task in result.tasks] == [TaskState.DONE]
