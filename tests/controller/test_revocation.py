"""Who is barred is refused: by controllers, by agents that are told, after a restart and after the store was lost."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import msgspec
import pytest
import uvicorn
from fastapi import FastAPI, Request

from segue.adapters import barring, peer, pki
from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.adapters.http.problems import show_error
from segue.adapters.own_tls import OwnTls
from segue.adapters.store.journal import Journal
from segue.agent.trust import Trust
from segue.errors import Kind, SegueError
from segue.model.trust import Bar, Barred, SignedBarred
from tests.controller.rig import Rig, free_port
from tests.controller.toy import ToyHost


def trusting(rig: Rig, name: str) -> Trust:
    return Trust(Journal(rig.path / f"{name}.db", "boot"), rig.folder.ca)


async def agent(rig: Rig, name: str) -> ToyHost:
    host = ToyHost(rig.world, rig.path, name)
    host.trust = trusting(rig, name)
    await host.begin(rig.way(name, {}))
    return host


class Agent:
    """The half of an agent that answers other agents: real TLS, real checks, one path."""

    def __init__(self, rig: Rig, name: str, trust: Trust) -> None:
        self.port = free_port()
        own = OwnTls(rig.folder.ca, rig.certificate("host", name, server=True), trust.demand)
        app = FastAPI()
        app.state.demand_not_barred = trust.demand
        app.add_exception_handler(SegueError, show_error)

        @app.get("/v1/peer/clock")
        async def clock(request: Request) -> float:
            access.only(request, "host")
            return 1.0

        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, http=access.TlsHttp, log_config=None, lifespan="off",
            ssl_certfile=own.pair.certificate, ssl_keyfile=str(own.pair.key), ssl_ca_certs=str(rig.folder.ca),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
        )  # fmt: skip
        config.load()
        assert config.ssl is not None
        own.adopt(config.ssl)
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve())

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._serving


async def ask(session: aiohttp.ClientSession, other: Agent, name: str, trust: Trust) -> bytes:
    client = peer.PeerClient(session, name, f"https://127.0.0.1:{other.port}", trust.demand_name)
    for _ in range(100):
        try:
            return await client._call("GET", "/v1/peer/clock")
        except ConnectionError:
            await asyncio.sleep(0.05)
    raise AssertionError("it does not serve")


async def test_agents_refuse_a_removed_host_in_both_directions_over_connections_that_stand(rig: Rig) -> None:
    rig.start()
    good = await agent(rig, "host1")
    await agent(rig, "host2")
    await rig.up(2)
    assert good.trust is not None
    own = OwnTls(rig.folder.ca, rig.certificate("host", "host1", server=True), good.trust.demand)
    nothing = trusting(rig, "other")
    bad = OwnTls(rig.folder.ca, rig.certificate("host", "host2", server=True), nothing.demand)
    one, two = Agent(rig, "host1", good.trust), Agent(rig, "host2", nothing)
    async with peer.session(own.client()) as from_one, peer.session(bad.client()) as from_two:
        assert await ask(from_two, one, "host1", nothing) == b"1.0"
        assert await ask(from_one, two, "host2", good.trust) == b"1.0"
        await rig.call("PATCH", "/hosts/host2", {"revoked": True})
        await rig.until("host1 has heard of it", lambda: good.trust and good.trust.signed)
        with pytest.raises(SegueError, match=r"host2 \(host\) was barred") as error:
            await ask(from_two, one, "host1", nothing)
        assert error.value.kind is Kind.AUTH
        with pytest.raises(SegueError, match=r"host2 \(host\) was barred"):
            await ask(from_one, two, "host2", good.trust)
    async with peer.session(own.client()) as fresh:
        unaware = peer.PeerClient(fresh, "host2", f"https://127.0.0.1:{two.port}", lambda name: None)
        with pytest.raises(SegueError, match=r"host2 is not trusted.*was barred"):
            await unaware._call("GET", "/v1/peer/clock")
    await one.stop()
    await two.stop()
    with pytest.raises(SegueError):
        Trust(Journal(rig.path / "host1.db", "boot"), rig.folder.ca).demand(Caller("host", "host2"))
    assert (await rig.call("GET", "/status"))["hosts_up"] == 1, "the controller hung up on it"


async def test_a_person_is_barred_by_name_and_by_number_and_let_in_again(rig: Rig) -> None:
    rig.start()
    host = await agent(rig, "host1")
    await rig.up(1)
    assert host.trust is not None
    trust = host.trust
    olga = rig.caller(rig.certificate("operator", "olga"))
    bearer = rig.caller(
        token=(await rig.call("POST", "/tokens", {"role": "operator", "name": "olga"}))["token"]
    )
    await rig.call("GET", "/guests", caller=olga)
    await rig.call("POST", "/bars", {"who": "operator:olga", "why": "her laptop was stolen"})
    for caller in (olga, bearer):
        with pytest.raises(SegueError, match="her laptop was stolen") as error:
            await rig.call("GET", "/guests", caller=caller)
        assert error.value.kind is Kind.AUTH

    def refuses(caller: Caller) -> bool:
        try:
            trust.demand(caller)
        except SegueError:
            return True
        return False

    await rig.until("the agent refuses her", lambda: refuses(Caller("operator", "olga", "77")))
    assert not refuses(Caller("operator", "otto", "77"))
    await rig.call("DELETE", "/bars/operator:olga")
    await rig.call("GET", "/guests", caller=olga)
    await rig.until("the agent lets her", lambda: not refuses(Caller("operator", "olga", "77")))
    await rig.call("POST", "/bars", {"who": "77"})
    await rig.until("the agent refuses that one", lambda: refuses(Caller("operator", "olga", "77")))
    assert not refuses(Caller("operator", "olga", "78"))
    with pytest.raises(SegueError, match="bar yourself"):
        await rig.call("POST", "/bars", {"who": "admin:admin"})


async def test_what_was_before_a_host_joined_again_is_barred_everywhere(rig: Rig) -> None:
    from segue.agent import join

    rig.start()
    other = await agent(rig, "host2")
    await rig.up(1)
    serials = []
    for folder in ("a", "b"):
        text = (await rig.call("POST", "/tokens", {"name": "host1"}))["token"]
        (rig.path / folder).mkdir()
        wish = join.Wish(text, rig.urls(), rig.path / folder / "agent.toml", "host1", "192.0.2.9")
        await asyncio.to_thread(join.join, wish)
        serials.append((await rig.call("GET", "/hosts/host1"))["record"]["serial"])
    await rig.until("host2 has heard of it", lambda: other.trust and other.trust.signed)
    assert other.trust is not None
    other.trust.demand(Caller("host", "host1", serials[1]))
    with pytest.raises(SegueError, match="joined again"):
        other.trust.demand(Caller("host", "host1", serials[0]))


async def test_a_controller_that_lost_its_store_learns_from_an_agent_whom_it_barred(rig: Rig) -> None:
    first = rig.start()
    host = await agent(rig, "host1")
    await rig.up(1)
    await rig.call("POST", "/bars", {"who": "operator:olga"})
    await rig.until("the agent knows", lambda: host.trust and host.trust.signed)
    first.kill()
    for path in rig.path.glob("store.db*"):
        path.unlink()
    await host.die()
    host.lost = False
    again = rig.start("c2")
    await host.begin(rig.way("host1", {}))
    admin = rig.caller(urls=(again.url,))
    await rig.adopt(admin)
    await rig.until("it is known again", lambda: admin.call("GET", "/bars")["items"])
    olga = rig.caller(rig.certificate("operator", "olga"), urls=(again.url,))
    with pytest.raises(SegueError, match="was barred"):
        await rig.call("GET", "/guests", caller=olga)


def test_a_list_that_is_forged_or_older_is_not_taken(rig: Rig) -> None:
    trust = trusting(rig, "host1")
    fleet = rig.folder.authority()

    def signed(number: int, *who: str, by: pki.Authority = fleet) -> SignedBarred:
        return barring.closed(by, Barred(number, tuple(Bar(one, 0.0, "x") for one in who)))

    trust.take(signed(5, "host:host2"))
    newest = trust.signed
    text = msgspec.json.encode(Barred(9)).decode()
    for forged in (
        signed(9, by=pki.new_authority()),
        SignedBarred(text, signed(9).signature[:-4] + "AAA="),
        SignedBarred(text, ""),
        SignedBarred(text, "no base64!"),
        signed(4),
        signed(5, "host:host3"),
        SignedBarred("[]", pki.sign(fleet, b"[]")),
    ):
        trust.take(forged)
        assert trust.signed is newest
        with pytest.raises(SegueError):
            trust.demand(Caller("host", "host2"))
    trust.take(signed(6))
    trust.demand(Caller("host", "host2"))


async def test_a_hostile_host_cannot_bar_others_by_what_it_gives_back(rig: Rig) -> None:
    from segue.wire import link as frames
    from tests.controller.test_trust import speak

    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    host = ToyHost(rig.world, rig.path, "host1")
    forged = barring.closed(pki.new_authority(), Barred(99, (Bar("admin:admin", 0.0, "me"),)))
    hello = frames.Hello(1, 0, "https://x:1", host.facts(), {}, [], [], forged)
    await speak(rig, "host1", frames.encode(hello).decode(), "nonsense")
    assert (await rig.call("GET", "/bars"))["items"] == []
