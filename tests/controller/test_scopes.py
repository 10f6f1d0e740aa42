"""A role with a scope sees and touches what has the scope's labels; the rest is not there, in the same words."""

from __future__ import annotations

from typing import Any

import pytest

from segue.cli.central import Controller
from segue.errors import Kind, SegueError
from tests.controller.rig import Rig
from tests.controller.toy import GIB


async def bearer(rig: Rig, role: str, name: str, scope: dict[str, str]) -> Controller:
    wish = {"role": role, "name": name, "scope": scope}
    return rig.caller(token=(await rig.call("POST", "/tokens", wish))["token"])


@pytest.fixture
async def fleet(rig: Rig) -> Rig:
    """web1 and web2 of team web, db1 of team db; host2 is web's own."""
    rig.start()
    one = await rig.host("host1")
    two = await rig.host("host2", {"team": "web"})
    one.add("web1", GIB // 4)
    one.add("db1", GIB // 4)
    two.add("web2", GIB // 4)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 3)
    for name, team in (("web1", "web"), ("web2", "web"), ("db1", "db")):
        await rig.call("PATCH", f"/guests/{name}/wishes", {"labels": {"team": team}})
    return rig


def names(page: dict[str, Any]) -> list[str]:
    return [item["name"] for item in page["items"]]


async def test_lists_show_what_the_scope_allows(fleet: Rig) -> None:
    for role in ("viewer", "operator"):
        web = await bearer(fleet, role, f"{role}-web", {"team": "web"})
        assert names(await fleet.call("GET", "/guests", caller=web)) == ["web1", "web2"]
        assert names(await fleet.call("GET", "/hosts", caller=web)) == ["host2"]
        status = await fleet.call("GET", "/status", caller=web)
        assert (status["guests"], status["hosts"], status["hosts_up"]) == (2, 1, 1)
    whole = await bearer(fleet, "viewer", "all", {})
    assert names(await fleet.call("GET", "/guests", caller=whole)) == ["db1", "web1", "web2"]


async def test_role_by_verb_by_scope(fleet: Rig) -> None:
    """Every caller asks for everything, of its own team's and of the other's: what he may, and why he may not."""
    callers = {
        "viewer": await bearer(fleet, "viewer", "v", {}),
        "viewer web": await bearer(fleet, "viewer", "vw", {"team": "web"}),
        "operator": await bearer(fleet, "operator", "o", {}),
        "operator web": await bearer(fleet, "operator", "ow", {"team": "web"}),
        "admin": fleet.caller(),
    }
    # verb: what is asked, and for each caller: yes, auth (may not), none (is not there)
    table = {
        ("GET", "/guests/web1", None): "yes yes yes yes yes",
        ("GET", "/guests/db1", None): "yes none yes none yes",
        ("GET", "/hosts/host2", None): "yes yes yes yes yes",
        ("GET", "/hosts/host1", None): "yes none yes none yes",
        ("POST", "/placements", ("guest", "web1")): "yes yes yes yes yes",
        ("POST", "/placements", ("guest", "db1")): "yes none yes none yes",
        ("POST", "/drains/plan", ("hosts", "host2")): "yes yes yes yes yes",
        ("POST", "/drains/plan", ("hosts", "host1")): "yes none yes none yes",
        ("PATCH", "/hosts/host2", ("cordoned", False)): "auth auth yes yes yes",
        ("PATCH", "/hosts/host1", ("cordoned", False)): "auth auth yes none yes",
        ("PATCH", "/guests/web1/wishes", ("labels", "web")): "auth auth yes auth yes",
        ("PATCH", "/hosts/host2", ("labels", "web")): "auth auth yes auth yes",
        ("POST", "/guests/db1/stop", None): "auth auth yes none yes",
        ("POST", "/guests/db1/migrations", ("to", "nowhere")): "auth auth yes none yes",
        ("POST", "/guests/web1/migrations", ("to", "nowhere")): "auth auth yes yes yes",
        ("GET", "/bars", None): "auth auth auth auth yes",
        ("GET", "/tokens", None): "auth auth auth auth yes",
        ("GET", "/audit", None): "auth auth auth auth yes",
    }
    found = {}
    for method, path, told in table:
        body = {told[0]: _value(*told)} if told else None
        found[method, path, told] = " ".join(
            [await answer(fleet, caller, method, path, body) for caller in callers.values()]
        )
    assert found == table


def _value(key: str, value: object) -> object:
    return [value] if key == "hosts" else {"team": value} if key == "labels" else value


async def answer(rig: Rig, caller: Controller, method: str, path: str, body: object) -> str:
    try:
        await rig.call(method, path, body, caller=caller)
    except SegueError as error:
        return {Kind.AUTH: "auth", Kind.NOT_FOUND: "none"}.get(error.kind, str(error))
    return "yes"


async def test_what_is_out_of_scope_and_what_is_not_there_look_the_same(fleet: Rig) -> None:
    web = await bearer(fleet, "operator", "olga", {"team": "web"})
    words = []
    for name in ("db1", "db9"):
        with pytest.raises(SegueError) as error:
            await fleet.call("POST", f"/guests/{name}/stop", caller=web)
        words.append((error.value.what.replace(name, "X"), error.value.why, error.value.kind))
    assert words[0] == words[1]


async def test_what_it_makes_is_its_own_and_a_name_that_is_taken_is_not(fleet: Rig) -> None:
    web = await bearer(fleet, "operator", "olga", {"team": "web"})
    wish = {"name": "web3", "image": "micro", "memory_bytes": GIB // 4}
    made = await fleet.call("POST", "/guests", wish, caller=web)
    assert (await fleet.ended(made["id"]))["state"] == "done"
    await fleet.until("web3 is seen", lambda: web.call("GET", "/guests/web3")["labels"] == {"team": "web"})
    with pytest.raises(SegueError, match="team=web, no others"):
        await fleet.call("POST", "/guests", {**wish, "name": "x", "labels": {"team": "db"}}, caller=web)
    stolen = await fleet.call("POST", "/guests", {**wish, "name": "db1"}, caller=web)
    assert (await fleet.ended(stolen["id"]))["state"] == "failed"
    assert (await fleet.call("GET", "/guests/db1"))["labels"] == {"team": "db"}


async def test_tasks_and_drains(fleet: Rig) -> None:
    web = await bearer(fleet, "operator", "olga", {"team": "web"})
    other = await fleet.call("POST", "/guests/db1/stop")
    own = await fleet.call("POST", "/guests/web1/stop", caller=web)
    assert [task["id"] for task in (await fleet.call("GET", "/tasks", caller=web))["items"]] == [own["id"]]
    with pytest.raises(SegueError, match="there is no task"):
        await fleet.call("POST", f"/tasks/{other['id']}/cancel", caller=web)
    fleet.world.hosts["host2"].add("db2", GIB // 4)
    await fleet.until("db2 is known", lambda: fleet.caller().call("GET", "/guests/db2"))
    with pytest.raises(SegueError, match="guests on it that are not team=web"):
        await fleet.call("POST", "/drains", {"hosts": ["host2"]}, caller=web)


async def test_admins_have_no_scope(fleet: Rig) -> None:
    for role in ("admin", "host"):
        with pytest.raises(SegueError, match="has no scope"):
            await bearer(fleet, role, "x", {"team": "web"})
