"""What people decide is heeded: labels, taints, overcommit, wishes, rules, domains; what cannot be meant is refused."""

from __future__ import annotations

from typing import Any

import pytest

from segue.errors import SegueError
from tests.controller.rig import Rig
from tests.controller.toy import GIB, ToyHost


async def three(rig: Rig) -> None:
    rig.start()
    for number in (1, 2, 3):
        await rig.host(f"host{number}", {"rack": f"r{number}"})
    await rig.up(3)


async def reported(rig: Rig, guest: str) -> None:
    await rig.until(f"{guest} is known", lambda: rig.caller().call("GET", f"/guests/{guest}"))


async def why_not(rig: Rig, guest: str) -> Any:
    return (await rig.call("POST", "/placements", {"guest": guest}))["refused"]


async def test_taints_labels_and_wishes_decide_where_a_guest_goes(rig: Rig) -> None:
    await three(rig)
    await rig.call("PATCH", "/hosts/host1", {"taints": {"lab": True}, "labels": {"disk": "ssd"}})
    await rig.call("PATCH", "/hosts/host2", {"labels": {"disk": "ssd", "rack": None}})
    host = await rig.call("PATCH", "/hosts/host2", {"labels": {"feed": "a"}})
    assert host["labels"] == {"disk": "ssd", "feed": "a", "rack": "r2"}, "maps are merged; its agent says r2"
    await rig.call("PATCH", "/guests/web1/wishes", {"wants": {"disk": ["ssd"]}, "labels": {"app": "web"}})
    made = await rig.call("POST", "/guests", {"name": "web1", "image": "micro", "memory_bytes": GIB})
    assert (await rig.ended(made["id"]))["host"] == "host2"
    await reported(rig, "web1")
    refused = await why_not(rig, "web1")
    assert refused["host1"] == ["is tainted lab"]
    assert refused["host3"] == ["disk is not set, wanted: ssd"]
    moved = await rig.ended((await rig.call("POST", "/guests/web1/migrations", {}))["id"])
    assert moved["state"] == "failed"
    assert "host1: is tainted lab" in moved["note"]
    await rig.call("PATCH", "/guests/web1/wishes", {"tolerates": {"lab": True}, "importance": 3})
    moved = await rig.ended((await rig.call("POST", "/guests/web1/migrations", {}))["id"])
    assert moved["host"] == "host1"
    (kept,) = (await rig.call("GET", "/wishes"))["items"]
    assert (kept["labels"], kept["importance"], kept["tolerates"]) == ({"app": "web"}, 3, ["lab"])


async def test_rules_keep_new_guests_apart_and_contradictions_are_refused(rig: Rig) -> None:
    await three(rig)
    for number in (1, 2, 3, 4):
        await rig.call("PATCH", f"/guests/web{number}/wishes", {"labels": {"app": "web"}})
    rule = {"name": "web-apart", "spread": "apart", "members": {"app": "web"}, "domain": "rack"}
    assert (await rig.call("POST", "/rules", rule))["warnings"], "no guest has that label yet"
    for number in (1, 2, 3):
        wish = {"name": f"web{number}", "image": "micro", "memory_bytes": GIB}
        assert (await rig.ended((await rig.call("POST", "/guests", wish))["id"]))["state"] == "done"
        await reported(rig, f"web{number}")
    assert sorted(len(host.names()) for host in rig.world.hosts.values()) == [1, 1, 1]
    fourth = await rig.call("POST", "/guests", {"name": "web4", "image": "micro", "memory_bytes": GIB})
    ended = await rig.ended(fourth["id"])
    assert ended["state"] == "failed"
    assert "rule web-apart: 1 of its group in rack r1" in ended["note"]
    both = {"name": "web-together", "spread": "together", "members": {"app": "web"}, "domain": "rack"}
    with pytest.raises(SegueError, match="contradict each other"):
        await rig.call("POST", "/rules", both)
    with pytest.raises(SegueError, match="was not changed"):
        await rig.call("POST", "/rules", rule)
    await rig.call("DELETE", "/rules/web-apart")
    assert (await rig.call("GET", "/rules"))["items"] == []


async def test_domains_are_inherited_and_loops_are_refused(rig: Rig) -> None:
    await three(rig)
    await rig.call("PUT", "/domains/rack/r1", {"within": {"feed": "a"}, "uplink_bytes_per_s": 10**9})
    rig.world.hosts["host1"].add("g1")
    await reported(rig, "g1")
    plan = await rig.call("POST", "/drains/plan", {"label": "feed", "value": "a"})
    assert [move["guest"] for wave in plan["waves"] for move in wave["moves"]] == ["g1"]
    with pytest.raises(SegueError, match="within itself"):
        await rig.call("PUT", "/domains/feed/a", {"within": {"rack": "r1"}})
    await rig.call("DELETE", "/domains/rack/r1")
    assert (await rig.call("GET", "/domains"))["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/hosts/host1", {"labels": {"a b": "c"}}),
        ("PATCH", "/hosts/host1", {"cpu_overcommit": 0}),
        ("PATCH", "/guests/a%20b/wishes", {}),
        ("PATCH", "/guests/web1/wishes", {"importance": 10**9}),
        ("PATCH", "/guests/web1/wishes", {"wants": {"rack": ["r/1"]}}),
        ("POST", "/rules", {"name": "r", "spread": "apart", "members": {}}),
        ("POST", "/rules", {"name": "r", "spread": "near", "members": {"a": "b"}}),
        ("POST", "/rules", {"name": "r", "spread": "apart", "members": {"a": "b"}, "at_most": 0}),
        ("PUT", "/domains/rack/r1", {"uplink_bytes_per_s": -1}),
        ("DELETE", "/rules/none", None),
        ("DELETE", "/guests/none/wishes", None),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_leaves_nothing(
    rig: Rig, method: str, path: str, body: Any
) -> None:
    rig.start()
    await rig.host("host1")
    await rig.up(1)
    with pytest.raises(SegueError) as told:
        await rig.call(method, path, body)
    assert told.value.kind in {"usage", "not_found"}
    for table in ("wishes", "rules", "domains"):
        assert (await rig.call("GET", f"/{table}"))["items"] == []


async def test_an_application_goes_to_a_host_that_runs_some(rig: Rig) -> None:
    await three(rig)
    wish = {"name": "cache1", "image": "redis:8", "memory_bytes": GIB, "labels": {"app": "cache"}}
    none = await rig.ended((await rig.call("POST", "/apps", wish))["id"])
    assert none["state"] == "failed"
    assert "runs no applications" in none["note"]
    able = ToyHost(rig.world, rig.path, "host4")
    able.app_runtime = "crun 1.21"
    await able.begin(rig.way("host4", {}))
    await rig.up(4)
    made = await rig.ended((await rig.call("POST", "/apps", wish))["id"])
    assert (made["state"], made["host"]) == ("done", "host4")
    assert able.names() == ["cache1"]
    (kept,) = (await rig.call("GET", "/wishes"))["items"]
    assert kept["labels"] == {"app": "cache"}
