"""Two stores under one CA are two fleets: a host obeys its own, until a person says otherwise."""

from __future__ import annotations

import asyncio

import pytest

from segue.adapters.store import url
from segue.adapters.store.journal import Journal
from segue.agent import join
from segue.cli.central import Controller
from segue.controller import stores
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.leadership import HOLDER
from segue.model.membership import OWN
from tests.controller.rig import Process, Rig
from tests.controller.toy import ToyHost


async def led(rig: Rig, name: str = "c1") -> tuple[Process, Controller]:
    """A controller over the rig's store, and its admin."""
    made = rig.start(name)
    admin = rig.caller(urls=(made.url,))
    await rig.until(f"{name} leads", lambda: admin.call("GET", "/status")["leader"])
    return made, admin


async def member(rig: Rig) -> ToyHost:
    """host1, with a guest, as the fleet knows it."""
    host = await rig.host("host1")
    host.add("web1")
    await rig.until("it is known", lambda: rig.caller().call("GET", "/guests/web1"))
    assert host.belongs
    return host


async def connects(host: ToyHost, rig: Rig, *urls: str) -> None:
    """The host's agent starts anew, with these controllers in its agent.toml."""
    await host.die()
    host.lost = False
    way = rig.way("host1", {})
    await host.begin(type(way)(urls, way.tls, way.own_socket, way.own_url, way.labels))


async def demand_odd_refused(rig: Rig, admin: Controller) -> None:
    """What is no fleet, or its own."""
    own = (await rig.call("GET", "/identity", caller=admin))["id"]
    for fleet, why in (
        (own, "it is this one"),
        ("3f2a", "no id of a fleet"),
        ("x" * 4000, "no id of a fleet"),
    ):
        with pytest.raises(SegueError, match=why):
            await rig.call("POST", "/identity/succeeds", {"fleet": fleet}, admin)


async def test_a_second_store_under_the_same_ca_takes_no_host_over_until_it_is_told_to(rig: Rig) -> None:
    first, _ = await led(rig)
    host = await member(rig)
    ours, epoch = host.belongs, host.epoch()
    rig.store = f"sqlite:///{rig.path}/second.db"
    second, admin = await led(rig, "c2")
    await connects(host, rig, second.url)
    await rig.until("it is refused", lambda: host.strange)
    assert f"the host belongs to fleet {ours[:8]}, the controller to fleet" in host.strange
    assert (host.belongs, host.epoch(), host.kept) == (ours, epoch, host.kept)
    assert await rig.call("GET", "/hosts", caller=admin) == {"items": [], "next": ""}
    assert await rig.call("GET", "/guests", caller=admin) == {"items": [], "next": ""}
    told = (await rig.call("GET", "/status", caller=admin))["warnings"]
    assert [line for line in told if "host1" in line and f"segue controller adopt {ours[:8]}" in line], told

    done = await rig.segue("controller", "adopt", ours[:8], url=second.url)
    assert done.returncode == 0, done.stderr
    await rig.until("it is here", lambda: admin.call("GET", "/status")["hosts_up"] == 1)
    theirs = (await rig.call("GET", "/identity", caller=admin))["id"]
    assert (host.belongs, host.strange) == (theirs, "")
    assert host.epoch() > epoch
    assert not (await rig.call("GET", "/identity", caller=admin))["strangers"]

    await demand_odd_refused(rig, admin)
    await connects(host, rig, first.url)
    await rig.until("the first one is refused now", lambda: host.strange)
    assert host.belongs == theirs


@pytest.mark.slow
async def test_a_backup_that_is_restored_elsewhere_is_the_same_fleet(rig: Rig) -> None:
    first, admin = await led(rig)
    host = await member(rig)
    ours = host.belongs
    copy = rig.path / "fleet.jsonl"
    await stores.backup(rig.store, copy, on_progress=lambda *_: None)
    first.kill()
    rig.store = f"sqlite:///{rig.path}/elsewhere.db"
    await stores.restore(copy, rig.store, replace=False, on_progress=lambda *_: None)
    second, admin = await led(rig, "c2")
    await connects(host, rig, second.url)
    await rig.until("it is here", lambda: admin.call("GET", "/status")["hosts_up"] == 1)
    assert (host.belongs, host.strange) == (ours, "")


@pytest.mark.slow
async def test_a_store_that_is_emptied_under_its_controller_stays_the_same_fleet(rig: Rig) -> None:
    _, admin = await led(rig)
    host = await member(rig)
    ours = host.belongs
    await empty(rig)
    await rig.until("it is back", lambda: admin.call("GET", "/identity")["id"] == ours)
    assert host.belongs == ours


async def empty(rig: Rig) -> None:
    """Takes away id and leader, as if the store were new."""
    async with stores.opened(url.parse(rig.store)) as store:
        for key in (OWN, HOLDER):
            entry = await store.get(key)
            assert entry is not None
            await store.commit(nouns.delete(entry))


async def test_a_host_that_joins_belongs_to_whom_it_joined(rig: Rig) -> None:
    _, admin = await led(rig)
    ours = (await rig.call("GET", "/identity", caller=admin))["id"]
    state, folder = rig.path / "state", rig.path / "etc"
    folder.mkdir()
    (folder / "agent.toml").write_text(f'name = "host9"\naddress = "192.0.2.9"\nstate_dir = "{state}"\n')
    journal = Journal(state / "journal.db", "boot1")
    journal.put_fleet("00000000-0000-4000-8000-000000000000")
    text = (await rig.call("POST", "/tokens", {"name": "host9"}, admin))["token"]
    wish = join.Wish(text, rig.urls(), folder / "agent.toml", "host9", "")
    await asyncio.to_thread(join.join, wish)
    assert journal.fleet() == ours, "the agent that runs meanwhile sees it, too"
    journal.close()
