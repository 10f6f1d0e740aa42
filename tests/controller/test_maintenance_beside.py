"""Maintenances beside each other: one host is never in two hands, and guests of both find room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.controller.rig import Rig
from tests.controller.test_maintenance import begun, fleet, order, report
from tests.controller.toy import GIB

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


async def test_two_that_begin_together_do_not_take_each_others_room(rig: Rig) -> None:
    """Either host could be emptied, not both: the second one waits, and fails nothing."""
    rig.start()
    one, two, three = await fleet(rig, guests=0)
    one.add("big1", 5 * GIB)
    two.add("big2", 5 * GIB)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    numbers = []
    for name, host in (("m1", "host1"), ("m2", "host2")):
        wish = of(host, name, "sleep 1")
        wish["procedure"].insert(
            0, wish["procedure"].pop(2)
        )  # It looks first: nothing is cordoned meanwhile.
        numbers.append(await begun(rig, wish))
    for number in numbers:
        ended = await rig.ended(number, 90.0)
        assert ended["state"] == "done", (ended, rig.logs())
    assert (one.boots, two.boots) == (1, 1)
    assert sorted(one.names() + two.names() + three.names()) == ["big1", "big2"]


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
