"""Whoever floods, guesses, repeats or lies over a real socket is refused and logged, and nobody else feels it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from typing import Any

import aiohttp
import httpx2
import pytest
from cryptography import x509

from segue.adapters import pki
from segue.adapters.own_tls import OwnTls
from segue.wire import link as frames
from tests.controller.rig import Rig
from tests.controller.toy import GIB, ToyHost, World


@pytest.fixture
async def up(rig: Rig) -> Rig:
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    return rig


def stranger(rig: Rig, token: str = "") -> httpx2.Client:
    context = ssl.create_default_context(cafile=str(rig.folder.ca))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=f"{rig.urls()[0]}/v1", verify=context, headers=headers)


async def audit(rig: Rig) -> list[dict[str, Any]]:
    return list((await rig.call("GET", "/audit?limit=500"))["items"])


async def test_who_guesses_tokens_is_slowed_and_cannot_fill_the_audit_nor_shut_others_out(up: Rig) -> None:
    good = (await up.call("POST", "/tokens", {"role": "viewer", "name": "eve"}))["token"]
    before = len(await audit(up))

    def guess() -> Counter[int]:
        with stranger(up, "SGB1.0011223344556677.guess") as client:
            return Counter(client.get("/status").status_code for _ in range(200))

    seen = await asyncio.to_thread(guess)
    assert set(seen) == {403, 429}
    assert seen[403] <= 40
    lines = (await audit(up))[before:]
    assert 1 <= len([line for line in lines if line["outcome"].startswith("refused: the token")]) <= 40
    with stranger(up, good) as client:
        assert client.get("/status").status_code == 200, "from the same address, with a token that holds"


async def test_who_may_not_cannot_fill_the_audit_by_asking(up: Rig) -> None:
    eve = (await up.call("POST", "/tokens", {"role": "viewer", "name": "eve"}))["token"]

    def ask() -> Counter[int]:
        with stranger(up, eve) as client:
            return Counter(client.post("/drains", json={}).status_code for _ in range(150))

    assert await asyncio.to_thread(ask) == {403: 150}
    assert 20 <= len([line for line in await audit(up) if line["who"] == "eve"]) <= 40


async def test_joining_is_limited_and_a_token_that_was_seen_in_a_failed_try_still_works(up: Rig) -> None:
    body = {"id": "00", "secret": "x", "name": "host9", "request": "x"}

    def flood() -> Counter[int]:
        with stranger(up) as client:
            return Counter(client.post("/join", json=body).status_code for _ in range(60))

    seen = await asyncio.to_thread(flood)
    assert set(seen) == {403, 429}
    assert seen[403] <= 25
    refused = [line for line in await audit(up) if line["what"] == "POST /v1/join"]
    assert len(refused) == seen[403]
    assert {line["outcome"] for line in refused} == {"refused: there is no such token"}


async def test_a_request_that_is_replayed_begins_nothing_twice(up: Rig) -> None:
    host = await up.host("host1")
    await up.up(1)
    admin = (await up.call("POST", "/tokens", {"role": "admin", "name": "ann"}))["token"]
    wish = {"name": "web1", "image": "micro", "memory_bytes": GIB}

    def replay() -> set[str]:
        with stranger(up, admin) as client:
            key = {"idempotency-key": "once"}
            return {client.post("/guests", json=wish, headers=key).json()["id"] for _ in range(20)}

    (number,) = await asyncio.to_thread(replay)
    assert (await up.ended(number))["state"] == "done"
    assert await asyncio.to_thread(replay) == {number}, "after its end, too"
    assert host.names() == ["web1"]


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(up: Rig) -> None:
    """Announced or not: the second is sent in pieces and says nothing of its size."""

    def pieces() -> Any:
        for _ in range(64):
            yield b" " * (1 << 16)

    with stranger(up) as client:
        for content in (b" " * (4 << 20), pieces()):
            try:
                answer = client.post("/join", content=content, headers={"content-type": "application/json"})
            except httpx2.HTTPError:
                continue  # It hung up while we still sent: refused as well.
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
    assert "body refused" in up.logs()


async def speak(rig: Rig, name: str, words: list[str]) -> tuple[int, int]:
    """(how many were sent, with which code the controller hung up)."""
    context = OwnTls(rig.folder.ca, rig.certificate("host", name)).client()
    url = f"{rig.urls()[0]}/v1/link"
    sent = 0
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, ssl=context, server_hostname="segue-controller") as socket,
    ):
        try:
            for each in words:
                await socket.send_str(each)
                sent += 1
        except ConnectionError:
            pass
        async with asyncio.timeout(20.0):
            while True:
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return sent, int(socket.close_code or 0)


def hello(name: str, path: Any, guests: int = 0) -> str:
    toy = ToyHost(World(), path, name)
    for number in range(guests):
        toy.add(f"g{number}")
    return frames.encode(frames.Hello(1, 0, "https://x:1", toy.facts(), {}, toy.guests(), [])).decode()


async def test_a_flood_of_frames_ends_that_connection_alone(up: Rig) -> None:
    good = await up.host("host2")
    await up.up(1)
    _, code = await speak(up, "host1", [hello("host1", up.path), *["""{"type":"changes"}"""] * 5000])
    assert code in {frames.REFUSED, 1006}
    assert "it sends more than any agent does" in up.logs()
    good.add("web1")
    await up.until("the other one is heard", lambda: up.caller().call("GET", "/guests/web1"))


async def test_a_host_with_more_guests_than_any_is_not_believed(up: Rig) -> None:
    _, code = await speak(up, "host1", [hello("host1", up.path, 5001)])
    assert code == frames.REFUSED
    assert (await up.call("GET", "/status"))["guests"] == 0


async def test_nobody_gets_a_certificate_for_another_or_without_end(up: Rig) -> None:
    path = up.path / "new.key"
    request = pki.new_request(path, "segue-controller")
    renew = frames.encode(frames.Renew(request)).decode()
    begin = hello("host1", up.path)
    context = OwnTls(up.folder.ca, up.certificate("host", "host1")).client()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{up.urls()[0]}/v1/link", ssl=context, server_hostname="segue-controller"
        ) as socket,
    ):
        await socket.send_str(begin)
        answers: list[dict[str, Any]] = []
        for _ in range(18):
            await socket.send_str(renew)
            while True:
                found = json.loads(await asyncio.wait_for(socket.receive_str(), 10.0))
                if found["type"] == "renewed":
                    answers.append(found)
                    break
    made = [answer["certificate"] for answer in answers if answer["certificate"]]
    assert len(made) == 16
    assert "of which it has shown none" in answers[-1]["why"]
    names = {str(pki.subject_of(x509.load_pem_x509_certificate(pem.encode()))) for pem in made}
    assert all("host/host1" in name and "controller" not in name for name in names), names
    _, code = await speak(up, "host1", [begin, *[renew] * 50])
    assert code in {frames.REFUSED, 1006}, "many at once"
