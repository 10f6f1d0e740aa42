"""The load is told to the leader, kept in its memory alone, and told anew to the next; nobody speaks for others."""

from __future__ import annotations

from typing import Any

import pytest

from segue.controller.loads import Loads
from segue.model.load import GuestLoad, HostLoad, Smoothed, Use
from tests.controller.rig import Rig
from tests.controller.toy import GIB


def told(host: str, cores: float, span_s: float) -> HostLoad:
    use = Use(cpu_cores=cores)
    guest = GuestLoad("u1", "g1", Smoothed(use, use, span_s))
    return HostLoad(host, 8, Smoothed(use, use, span_s), GIB, GIB, guests=(guest,))


async def load_of(rig: Rig, guests: int) -> Any:
    def look() -> Any:
        hosts = rig.caller().all("/load")
        return hosts if sum(len(host["guests"]) for host in hosts) == guests else None

    return await rig.until("the load is told", look)


@pytest.mark.slow
async def test_the_load_is_told_and_told_anew_after_a_takeover(rig: Rig) -> None:
    rig.start("c1")
    rig.start("c2")
    await rig.until("one leads", lambda: rig.caller().call("GET", "/status")["leader"])
    leader = (await rig.call("GET", "/status"))["leader"]
    one = await rig.host("host1")
    one.add("g1")
    rig.world.cores["g1"] = 2.5
    await rig.up(1)
    (host,) = await load_of(rig, 1)
    assert host["guests"][0]["use"]["now"]["cpu_cores"] == 2.5
    assert host["pressure"]["cpu"] == 2.5 / 8
    await rig.until("its health is known", lambda: rig.caller().call("GET", "/health")["reports"])
    revision = (await rig.call("GET", "/status"))["revision"]
    await rig.until("it was told again", lambda: one.load_told >= 2, 25.0)
    assert (await rig.call("GET", "/status"))["revision"] == revision, "the store is not written for it"
    rig.controllers[0 if leader == "c1" else 1].kill()
    (host,) = await load_of(rig, 1)
    assert host["guests"][0]["name"] == "g1"


def test_a_guest_that_moved_is_weighed_by_its_old_host_until_the_new_one_knows() -> None:
    loads = Loads()
    loads.take("host1", told("host1", 2.0, 900.0))
    loads.take("host2", told("host2", 0.1, 5.0))
    known = loads.guest("u1")
    assert known is not None
    assert known.use.now.cpu_cores == 2.0
    loads.take("host2", told("host2", 1.5, 130.0))
    known = loads.guest("u1")
    assert known is not None
    assert known.use.now.cpu_cores == 1.5
    loads.drop("host2")
    assert loads.host("host2") is None
    assert [host.name for host in loads.hosts()] == ["host1"]
