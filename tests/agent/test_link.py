"""An agent obeys no older epoch, and no path that is not for controllers; a command is a call of its own API."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from segue.adapters.store.journal import Journal
from segue.agent import link
from segue.wire import link as frames
from tests.controller.toy import ToyHost, World


async def answer(host: ToyHost, command: frames.Command) -> frames.Answer:
    way = link.Way(("https://127.0.0.1:9",), lambda: pytest.fail("no call"), host.socket, "https://h:1", {})
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(host.socket))) as api:
        return await link._Link(way, host, "https://127.0.0.1:9")._answer(api, command)


async def test_an_older_epoch_is_refused_and_a_newer_one_is_kept(tmp_path: Path) -> None:
    host = ToyHost(World(), tmp_path, "host1")
    host.add("web1")
    way = link.Way(("https://127.0.0.1:9",), lambda: pytest.fail("no call"), host.socket, "https://h:1", {})
    await host.begin(way)
    host.obey(5)
    for epoch in (-1, 0, 4):
        refused = await answer(host, frames.Command(1, epoch, "POST", "/v1/guests/web1/stop", ""))
        assert refused.status == 409
        assert "older than 5" in refused.body
    assert host.guests()[0].state == "running"
    assert (await answer(host, frames.Command(2, 7, "POST", "/v1/guests/web1/stop", "{}"))).status == 200
    assert host.guests()[0].state == "stopped"
    assert host.epoch() == 7
    for path in ("/v1/peer/messages/x", "/metrics", "http://elsewhere/v1/guests"):
        assert (await answer(host, frames.Command(3, 7, "POST", path, "{}"))).status == 409
    await host.die()


def test_the_epoch_is_durable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", "boot1")
    assert journal.leader_epoch() == 0
    journal.put_leader_epoch(9)
    journal.put_neighbour("host2", "https://192.0.2.2:7443")
    journal.close()
    again = Journal(tmp_path / "journal.db", "boot2")
    assert again.leader_epoch() == 9
    assert again.neighbours() == {"host2": "https://192.0.2.2:7443"}
    again.close()


def test_a_controller_that_could_not_be_reached_is_left_out_for_a_while() -> None:
    choice = link._Choice(("a", "b", "c"))
    assert [choice.next() for _ in range(4)] == ["a", "b", "c", "a"]
    choice.shun("b")
    assert [choice.next() for _ in range(3)] == ["c", "a", "c"]
    choice.shun("a")
    choice.shun("c")
    assert {choice.next() for _ in range(3)} == {"a", "b", "c"}, "where none is left, all are asked"
