"""A host promises its memory once: to guests that run, that are being started, and that it took over."""

from __future__ import annotations

import asyncio

import pytest

from segue.errors import Refused
from segue.model.guest import Guest, RunState
from segue.model.handoff import Phase, TakeOver
from segue.sim import host as machines
from segue.sim.agent import SimGuests, SimServices
from segue.sim.host import SimHost
from tests.agent.one_host import play

GIB = machines.GIB


def spec(number: int, gib: int) -> Guest:
    return machines.guest(number, f"g{number}", gib * GIB)


async def refused(guest: Guest, pid: int) -> None:
    raise Refused(what="it is not let run", why="its host is cut off", todo="Wait.")


def test_one_that_was_taken_over_keeps_its_room_though_its_start_fails() -> None:
    async def work(_: SimHost, services: SimServices) -> None:
        here = SimGuests(services)
        await here.inherit(spec(1, 4), TakeOver("h2", "its power is off", 6))
        keeper, admit = here.by_name("g1"), services.lease.admit
        assert here.promised_bytes() == 4 * GIB
        services.lease.admit = refused  # type: ignore[method-assign]
        for _again in range(2):
            with pytest.raises(Refused, match="cut off"):
                await keeper.start(peers_highest=0)
            assert (keeper.state(), here.promised_bytes()) == (RunState.STOPPED, 4 * GIB)
        assert (
            keeper.resident.plight
            == "taken over from h2: QEMU does not let it run: it is not let run: its host is cut off"
        )
        services.lease.admit = admit  # type: ignore[method-assign]
        await keeper.start(peers_highest=0)
        assert (keeper.state(), keeper.resident.plight) == (RunState.RUNNING, "")
        await keeper.stop(0.0)
        assert here.promised_bytes() == 0

    play(work)


def test_a_stopped_guest_is_not_started_where_its_room_was_given_away() -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        here = SimGuests(services)
        await here.create(spec(1, 9), start=False)
        await here.create(spec(2, 9), start=True)
        with pytest.raises(Refused, match=r"h1 is 2\.0 GiB short of memory for it"):
            await here.start(here.by_name("g1"))
        await here.by_name("g2").stop(0.0)
        await here.start(here.by_name("g1"))
        assert [qemu.guest.name for qemu in host.qemus.values()] == ["g1"]

    play(work)


def test_two_that_are_started_or_made_at_once_are_not_promised_the_same_room() -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        here = SimGuests(services)
        for number in (1, 2):
            await here.create(spec(number, 9), start=False)
        starts = (here.start(here.by_name(f"g{number}")) for number in (1, 2))
        came = await asyncio.gather(*starts, return_exceptions=True)
        assert [isinstance(each, Refused) for each in came] == [False, True]
        assert here.promised_bytes() == 9 * GIB
        creates = (here.create(spec(number, 4), start=True) for number in (3, 4))
        came = await asyncio.gather(*creates, return_exceptions=True)
        assert [isinstance(each, Refused) for each in came] == [False, True]
        assert len(host.qemus) == 2
        assert here.names() == ("g1", "g2", "g3"), "nothing is left of the one that was refused"

    play(work)


def test_one_that_crashed_has_its_room_and_is_started_again() -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        here = SimGuests(services)
        await here.create(spec(1, 16), start=True)
        keeper = here.by_name("g1")
        host.lose(host.qemus[keeper.uuid])
        assert keeper.token.phase is Phase.OWNER
        assert here.promised_bytes() == 16 * GIB
        await here.start(keeper)
        assert keeper.state() is RunState.RUNNING

    play(work)
