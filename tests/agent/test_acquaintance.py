"""Whoever starts a guest that others may have asks every host that any of them knows, however it hears of it."""

from __future__ import annotations

import pytest

from segue.agent import acquaintance
from segue.errors import Kind, Refused
from segue.model.crash import Cause
from segue.sim import host as machines
from segue.sim.agent import SimGuests, SimPeer, SimServices
from segue.sim.host import SimHost
from segue.wire.messages import Claim
from tests.agent.one_host import play

FAR = {"h3": "https://10.0.0.3:7443"}


class Knows(SimPeer):
    """Has nothing of the guest, and knows of a host that the asker has never heard of."""

    async def claim(self, guest: str, mine: int = 0, known: str = "") -> Claim:
        return Claim(0, 0, FAR if known else {})


class Heir(SimPeer):
    """That host: it has taken the guest over."""

    async def claim(self, guest: str, mine: int = 0, known: str = "") -> Claim:
        return Claim(9, 9)


class Away(SimPeer):
    """Does not answer."""

    async def claim(self, guest: str, mine: int = 0, known: str = "") -> Claim:
        raise ConnectionError("h3 does not answer")


async def after_a_power_loss(host: SimHost, services: SimServices, far: type[SimPeer]) -> SimGuests:
    """Guest g1 as the agent finds it at its start; only h2 is known, which knows h3."""
    before = SimGuests(services)
    await before.create(machines.guest(1, "g1", machines.GIB), start=True)
    await before.by_name("g1").resident.discard()
    services.journal.cut_off("g1")

    def meet(name: str, url: str) -> None:
        services.config.peers[name], services.peers[name] = url, far(host, name)

    services.peers["h2"] = Knows(host, "h2")
    services.meet = meet  # type: ignore[method-assign]
    here = SimGuests(services)
    await here.take_up()
    return here


def test_a_host_that_joined_meanwhile_is_asked_too() -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        here = await after_a_power_loss(host, services, Heir)
        with pytest.raises(Refused, match="epoch 9"):
            await here.start(here.by_name("g1"))
        assert here.by_name("g1").machine is None
        assert set(services.peers) == {"h2", "h3"}

    play(work)


def test_one_that_joined_meanwhile_and_does_not_answer_is_waited_for() -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        here = await after_a_power_loss(host, services, Away)
        keeper = here.by_name("g1")
        with pytest.raises(Refused, match="h3 cannot be asked") as refusal:
            await here.start(keeper)
        assert refusal.value.kind is Kind.UNREACHABLE
        incident = services.crashes.open()[0]
        assert incident.cause is Cause.POWER_LOST
        assert keeper.shown().restarts  # type: ignore[union-attr]
        await services.crashes.tend(keeper, here.start)
        again = services.crashes.open()[0]
        assert (again.id, again.tried_s) == (incident.id, ())
        assert again.due_s > incident.due_s, "it is tried again later, and that was no try"
        services.peers["h3"] = Knows(host, "h3")
        assert again.due_s
        await here.start(keeper)
        assert keeper.machine is not None
        await services.crashes.tend(keeper, here.start)
        assert not services.crashes.open()

    play(work)


def test_hosts_are_told_only_where_the_asker_knows_others() -> None:
    async def work(_: SimHost, services: SimServices) -> None:
        services.meet("h2", "https://10.0.0.2:7443")
        services.meet("h3", "https://10.0.0.3:7443")
        same = acquaintance.digest(services)
        assert acquaintance.unknown_to(services, "h2", same) == {}
        assert acquaintance.unknown_to(services, "h2", "") == {}, "an agent of before does not ask"
        assert set(acquaintance.unknown_to(services, "h4", same)) == {"h2", "h3"}

    play(work)


@pytest.mark.parametrize("url", ["http://10.0.0.9:7443", "file:///etc/passwd", ""])
def test_only_what_can_be_a_host_is_met(url: str) -> None:
    async def work(_: SimHost, services: SimServices) -> None:
        services.meet("h2", "https://10.0.0.2:7443")
        assert (
            acquaintance.meet(services, {"h9": url, "h2": "https://10.0.0.8:7443", "../h": "https://x:1"})
            == []
        )
        assert services.config.peers["h2"] == "https://10.0.0.2:7443"
        assert acquaintance.meet(services, {"h9": "https://10.0.0.9:7443"}) == ["h9"]

    play(work)
