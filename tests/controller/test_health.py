"""A fleet whose hosts say that they fail: who is emptied, who waits and why, and that no trouble is answered twice."""

from __future__ import annotations

import asyncio
from typing import Any

from segue.model.health import Kind, Level
from tests.controller.rig import Rig

LIMIT_S = 60.0


def health(rig: Rig) -> Any:
    return rig.caller().call("GET", "/health")


async def known(rig: Rig, hosts: int, guests: int) -> None:
    await rig.up(hosts)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == guests)
    await rig.until("every host has said how it is", lambda: len(health(rig)["reports"]) == hosts)


def drains(rig: Rig) -> list[Any]:
    return [task for task in rig.caller().all("/tasks") if task["kind"] == "drain"]


async def test_a_failing_host_is_emptied_once_and_takes_nothing_in(rig: Rig) -> None:
    rig.start("c1", "--evacuate-failing", "1")
    one = await rig.host("host1")
    for name in ("host2", "host3", "host4"):
        await rig.host(name)
    for number in range(3):
        one.add(f"g{number}")
    await known(rig, 4, 3)
    rig.world.hosts["host4"].fails("hot", Kind.TEMPERATURE, Level.SUSPECT)
    await rig.until("host4 is suspect", lambda: set(health(rig)["answer"]["taints"]) == {"host4"})
    one.fails("disk-verdict", Kind.DISK)
    begun = (await rig.until("a drain has begun", lambda: drains(rig), LIMIT_S))[0]
    assert (begun["by"], begun["wish"]["hosts"]) == ("health", ["host1"])
    assert begun["wish"]["limits"]["storage_postcopy"]
    ended = await rig.ended(begun["id"], LIMIT_S)
    assert ended["state"] == "done", ended
    assert one.names() == []
    assert {target for _, _, target in rig.world.begun} <= {"host2", "host3"}, (
        "nothing goes to a suspect host"
    )
    choice = await rig.call("POST", "/placements", {"guest": "g0"})
    assert {"host1", "host4"} <= set(choice["refused"]), choice
    await asyncio.sleep(11)
    assert len(await asyncio.to_thread(drains, rig)) == 1


async def test_a_guest_that_stays_takes_nobodys_turn(rig: Rig) -> None:
    rig.start("c1", "--evacuate-failing", "1")
    one, two = await rig.host("host1"), await rig.host("host2")
    await rig.host("host3")
    one.add("off", state="stopped")
    two.add("g0")
    await known(rig, 3, 2)
    one.fails()
    first = (await rig.until("a drain has begun", lambda: drains(rig), LIMIT_S))[0]
    assert (await rig.ended(first["id"], LIMIT_S))["state"] == "partial"
    two.fails("nic-down", Kind.NIC)
    await rig.until("host2 is emptied", lambda: not two.names(), LIMIT_S)
    held = (await asyncio.to_thread(health, rig))["answer"]["held"]
    assert [entry["host"] for entry in held] == ["host1"]
    assert "guests are left" in held[0]["why"]


async def test_by_itself_a_controller_only_tells(rig: Rig) -> None:
    rig.start()
    one = await rig.host("host1")
    await rig.host("host2")
    one.add("g0")
    await known(rig, 2, 1)
    one.fails()
    found = await rig.until("it waits for a person", lambda: health(rig)["answer"]["held"])
    assert found[0]["todo"] == "segue host drain host1"
    assert await asyncio.to_thread(drains, rig) == []


async def test_a_storm_waits_for_a_person_and_another_leader_knows_the_same(rig: Rig) -> None:
    more = ("--evacuate-failing", "2")
    first, _ = rig.start("c1", *more), rig.start("c2", *more)
    hosts = [await rig.host(f"host{number}") for number in range(1, 6)]
    for number, host in enumerate(hosts):
        host.add(f"g{number}")
    await known(rig, 5, 5)
    for host in hosts[:3]:
        host.fails()
    # All three are told within one round; a first one alone would be no storm, and may be emptied.
    await rig.until("three are failing", lambda: len(health(rig)["answer"]["alerts"]) == 3, LIMIT_S)
    storms = (await asyncio.to_thread(health, rig))["answer"]["storms"]
    assert {storm["kind"] for storm in storms} == {"fleet", "rule"}
    leader = (await rig.call("GET", "/status"))["leader"]
    before = await asyncio.to_thread(drains, rig)
    rig.controllers[0 if leader == "c1" else 1].kill()
    await rig.until(
        "another leads", lambda: rig.caller().call("GET", "/status")["leader"] not in {"", leader}
    )
    await asyncio.sleep(6)
    found = await asyncio.to_thread(health, rig)
    assert len(found["answer"]["alerts"]) == 3
    assert [task["id"] for task in await asyncio.to_thread(drains, rig)] == [task["id"] for task in before]
    assert first is rig.controllers[0]
