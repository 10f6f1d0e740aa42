"""Who may do what: stolen, used, expired tokens, strangers, forged reports, odd bodies: refused, logged, harmless."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import aiohttp
import httpx2
import pytest

from segue.adapters import pki
from segue.adapters.own_tls import OwnTls
from segue.agent import join
from segue.errors import Kind, Refused, SegueError
from segue.wire import link as frames
from segue.wire import tokens
from tests.controller.rig import Rig
from tests.controller.toy import ToyHost, World


@pytest.fixture
async def up(rig: Rig) -> Rig:
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    return rig


async def token(rig: Rig, **wish: Any) -> str:
    return str((await rig.call("POST", "/tokens", wish))["token"])


def wish(rig: Rig, text: str, folder: str, name: str = "host9") -> join.Wish:
    path = rig.path / folder
    path.mkdir(exist_ok=True)
    return join.Wish(text, rig.urls(), path / "agent.toml", name, "192.0.2.9")


async def test_a_token_is_for_one_host_and_once(up: Rig) -> None:
    text = await token(up, name="host9")
    with pytest.raises(SegueError, match="for host9 alone"):
        await asyncio.to_thread(join.join, wish(up, text, "a", "host8"))
    assert not list((up.path / "a").rglob("*.*")), "a refused host has nothing"
    assert await asyncio.to_thread(join.join, wish(up, text, "b")) == "host9"
    made = (up.path / "b" / "agent.toml").read_text()
    assert f'controllers = ["{up.urls()[0]}"]' in made
    with pytest.raises(SegueError, match="used already"):
        await asyncio.to_thread(join.join, wish(up, text, "c"))
    assert "join refused" in up.logs()
    assert tokens.unpack(text).secret not in up.logs()


async def test_of_many_that_come_with_one_token_one_joins(up: Rig) -> None:
    text = await token(up)
    wishes = [wish(up, text, f"r{n}", f"host{n}") for n in range(6)]
    found = await asyncio.gather(*(asyncio.to_thread(join.join, w) for w in wishes), return_exceptions=True)
    assert sum(isinstance(each, str) for each in found) == 1, found
    assert all(isinstance(each, str | Refused) for each in found)


async def test_a_token_that_is_over_or_damaged_is_worth_nothing(up: Rig) -> None:
    short = await token(up, ttl_s=1.0)
    await asyncio.sleep(1.1)
    with pytest.raises(SegueError, match="time is over"):
        await asyncio.to_thread(join.join, wish(up, short, "a"))
    for odd in ("", "SGT1.", "SGT1.!!!", short[:-8], "SGB1.a.b"):
        with pytest.raises(Refused, match="cannot be used"):
            join.join(wish(up, odd, "b"))


async def test_a_host_that_is_there_is_not_replaced_by_a_token_for_anybody(up: Rig) -> None:
    await asyncio.to_thread(join.join, wish(up, await token(up, name="host9"), "a"))
    with pytest.raises(SegueError, match="there is a host host9 already"):
        await asyncio.to_thread(join.join, wish(up, await token(up), "b"))
    with pytest.raises(SegueError, match="cannot be a host's name"):
        await asyncio.to_thread(join.join, wish(up, await token(up), "c", "segue-controller"))


async def test_the_secret_is_not_told_to_another_ca(up: Rig) -> None:
    right = tokens.unpack(await token(up))
    forged = tokens.pack(tokens.Joining("0" * 64, right.id, right.secret))
    with pytest.raises(Refused, match="not the one that the token was made for"):
        await asyncio.to_thread(join.join, wish(up, forged, "a"))
    assert "join refused" not in up.logs(), "nothing was told"


async def test_roles(up: Rig) -> None:
    viewer = up.caller(token=await token(up, role="viewer", name="eve"))
    operator = up.caller(up.certificate("operator", "olga"))
    host = up.caller(up.certificate("host", "host1"))
    await up.call("GET", "/status", caller=viewer)
    for caller, method, path, body in (
        (viewer, "PATCH", "/hosts/host1", {"cordoned": True}),
        (viewer, "POST", "/drains", {"hosts": ["host1"]}),
        (operator, "POST", "/tokens", {}),
        (operator, "GET", "/audit", None),
        (host, "GET", "/status", None),
        (host, "POST", "/tokens", {}),
        (up.caller(token="SGB1.aaaa.bbbb"), "GET", "/status", None),
        (up.caller(token=await token(up)), "GET", "/status", None),
    ):
        with pytest.raises(SegueError) as error:
            await up.call(method, path, body, caller=caller)
        assert error.value.kind is Kind.AUTH, (method, path)
    lines = (await up.call("GET", "/audit?limit=500"))["items"]
    refused = [(line["who"], line["what"]) for line in lines if line["outcome"].startswith("refused: ")]
    assert refused == [
        ("eve", "PATCH /v1/hosts/host1"), ("eve", "POST /v1/drains"), ("olga", "POST /v1/tokens"),
        ("olga", "GET /v1/audit"), ("host1", "GET /v1/status"), ("host1", "POST /v1/tokens"),
        ("unknown", "GET /v1/status"), ("unknown", "GET /v1/status"),
    ]  # fmt: skip
    done = [line["outcome"] for line in lines if line["what"] == "POST /v1/tokens" and line["who"] == "admin"]
    assert done == ["asked", "done"] * 2


async def test_a_change_that_was_refused_is_in_the_audit_with_the_reason(up: Rig) -> None:
    with pytest.raises(SegueError, match="there is no host nobody"):
        await up.call("PATCH", "/hosts/nobody", {"cordoned": True})
    asked, came = (await up.call("GET", "/audit"))["items"]
    assert (asked["outcome"], asked["who"], asked["role"]) == ("asked", "admin", "admin")
    assert came["outcome"].startswith("refused: there is no host nobody")
    assert came["request"] == asked["request"]


async def test_a_stranger_gets_no_connection(up: Rig) -> None:
    stranger = pki.new_authority()
    pair = pki.Pair(up.path / "s.pem", up.path / "s.key")
    pki.issue(stranger, pair, common_name="host1", uri="segue://fleet/host/host1")
    with pytest.raises(SegueError, match="no controller answers"):
        await up.call("GET", "/status", caller=up.caller(pair))


async def speak(rig: Rig, name: str, *said: str | bytes) -> str:
    """Why the controller hung up on this host."""
    context = OwnTls(rig.folder.ca, rig.certificate("host", name)).client()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{rig.urls()[0]}/v1/link", ssl=context, server_hostname="segue-controller"
        ) as socket,
    ):
        for words in said:
            await (socket.send_bytes(words) if isinstance(words, bytes) else socket.send_str(words))
        while True:
            message = await asyncio.wait_for(socket.receive(), 15.0)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return str(message.extra or socket.close_code)


async def test_a_hosts_certificate_speaks_for_that_host_alone(up: Rig) -> None:
    other = ToyHost(World(), up.path, "host2")
    other.add("stolen")
    ours = ToyHost(World(), up.path, "host1")
    for facts, guests in ((other.facts(), []), (ours.facts(), other.guests())):
        hello = frames.Hello(1, 0, "https://x:1", facts, {}, guests, [])
        why = await speak(up, "host1", frames.encode(hello).decode())
        assert "speaks for host2" in why or "4003" in why, why
    assert (await up.call("GET", "/guests"))["items"] == []
    assert "speaks for host2" in up.logs()


@pytest.mark.parametrize("words", ["", "{", '{"type":"hello"}', '{"type":"changes"}', "x" * 9_000_000])
async def test_odd_frames_end_that_connection_and_nothing_else(up: Rig, words: str) -> None:
    await speak(up, "host1", words)
    assert (await up.call("GET", "/status"))["hosts_up"] == 0


async def test_a_removed_host_does_not_come_back(up: Rig) -> None:
    host = await up.host("host1")
    await up.up(1)
    await up.call("PATCH", "/hosts/host1", {"revoked": True})
    await host.die()
    hello = frames.Hello(1, 0, "https://x:1", host.facts(), {}, [], [])
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await speak(up, "host1", frames.encode(hello).decode())
    assert error.value.status == 403


async def test_bodies_that_are_huge_or_odd_are_refused_without_harm(up: Rig) -> None:
    context = ssl.create_default_context(cafile=str(up.folder.ca))
    context.load_cert_chain(up.folder.admin.certificate, up.folder.admin.key)
    with httpx2.Client(base_url=up.urls()[0], verify=context) as client:
        huge = client.post("/v1/join", content=b"x" * (2 << 20), headers={"content-type": "application/json"})
        assert huge.status_code == 413
        for path in ("/v1/join", "/v1/tokens", "/v1/drains", "/v1/guests", "/v1/placements"):
            for odd in (b"", b"{", b"[]", b"null", b'{"x": ' + b"[" * 5000, b'{"name": 7}'):
                status = client.post(
                    path, content=odd, headers={"content-type": "application/json"}
                ).status_code
                assert 200 <= status < 500, (path, odd[:20], status)
        for path in ("/v1/hosts/a%2fb", "/v1/tasks/%00", "/v1/hosts?limit=0", "/v1/hosts?selector=x"):
            assert 400 <= client.get(path).status_code < 500, path
        problem = client.get("/v1/hosts/nobody")
        assert problem.headers["content-type"] == "application/problem+json"
        assert set(json.loads(problem.content)) >= {"status", "title", "what", "why", "todo"}
