"""Maintenances beside each other: one host is never in two hands, and a person's word about a host holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.controller.rig import Rig
from tests.controller.test_maintenance import begun, fleet, order, report

pytestmark = pytest.mark.slow


def held(path: Path) -> str:
    """A script that goes on until that file is gone."""
    return f"touch {path}; while [ -e {path} ]; do sleep 0.1; done"


def of(host: str, name: str, script: str) -> dict[str, Any]:
    return order(name, script=script) | {"scope": {"hosts": [host]}}


async def test_a_host_is_not_rebooted_while_another_maintenance_works_on_it(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig)
    running = rig.path / "flashing"
    first = await begun(rig, of("host1", "m1", held(running)))
    await rig.until("its script runs", running.exists)
    second = await begun(rig, of("host1", "m2", "true"), force=True)
    await rig.until(
        "it waits",
        lambda: "the maintenance m1 works on it" in rig.caller().call("GET", f"/tasks/{second}")["note"],
    )
    assert one.boots == 0
    running.unlink()
    for number in (first, second):
        ended = await rig.ended(number, 60.0)
        assert ended["state"] == "done", (ended, rig.logs())
    [before], [after] = [(await report(rig, name)).values() for name in ("m1", "m2")]
    assert before["ended_s"] <= after["begun_s"]
    assert one.boots == 2


async def test_nobody_goes_home_to_a_host_that_a_person_had_cordoned(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig)
    await rig.call("PATCH", "/hosts/host1", {"cordoned": True})
    ended = await rig.ended(await begun(rig, of("host1", "m1", "true")), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    [host] = (await report(rig)).values()
    assert "0 guests came back; not: g0: " in host["passed"][-1]["note"]
    assert one.names() == []
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


async def test_two_feeds_at_one_time_are_seen_before_they_begin(rig: Rig) -> None:
    """Either feed could be emptied into the other one, not both at once."""
    rig.start()
    await fleet(rig, hosts=2)
    begins_s = time.time() + 3600.0
    wishes = {}
    for name, host in (("feed-a", "host1"), ("feed-b", "host2")):
        window = {"begins_s": begins_s, "ends_s": begins_s + 7200.0}
        wishes[name] = of(host, name, "true") | {"window": window}
        wishes[name]["procedure"] = wishes[name]["procedure"][:2]
        assert (await rig.call("POST", "/maintenances/plan", wishes[name]))["missing"] == []
    for name, wish in wishes.items():
        await rig.call("PUT", f"/maintenances/{name}", wish)
    assert (await rig.call("POST", "/maintenances/plan", wishes["feed-a"]))["missing"] == []
    [why] = (await rig.call("POST", "/maintenances/plan", wishes["feed-b"]))["missing"]
    assert why.startswith("at the same time as feed-a: host2: ")
    assert "cannot leave" in why
    later = {"begins_s": begins_s + 7200.0, "ends_s": begins_s + 9000.0}
    assert (await rig.call("POST", "/maintenances/plan", wishes["feed-b"] | {"window": later}))[
        "missing"
    ] == []
