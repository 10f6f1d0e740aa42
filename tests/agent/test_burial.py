"""Where a lease was over, keepers and guard in virtual time: nothing starts there before others are asked."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from segue.adapters.watchdog import Watchdog
from segue.agent.guard import Guard
from segue.errors import Refused
from segue.model import guest as guests
from segue.model.application import Application, Restart
from segue.model.handoff import Phase, Token
from segue.policy import lease
from segue.sim import host as machines
from segue.sim.agent import SimGuests, SimKeeper, SimPeer, SimServices
from segue.sim.host import SimHost
from segue.wire.messages import Claim
from tests.agent.one_host import play

APP = Application("sha256:0", "redis", ("redis-server",), restart=Restart.ALWAYS)
SPEC = guests.application("cache1", "u9", 64 << 20, APP, ())


class Heir(SimPeer):
    """A host that has taken the guest over."""

    async def claim(self, guest: str, mine: int = 0, known: str = "") -> Claim:
        return Claim(9, 9)


class CountingKeeper(SimKeeper):
    """Notes that it was to start its guest."""

    begun: ClassVar[list[int]] = []

    async def start(self, peers_highest: int) -> None:
        self.begun.append(peers_highest)


def test_who_starts_a_guest_while_it_is_buried_asks_the_others_as_well() -> None:
    """A person, or a controller, just when the agent clears away what its guard has ended: it may live elsewhere."""

    async def work(host: SimHost, services: SimServices) -> None:
        here = SimGuests(services)
        await here.create(machines.guest(1, "g1", machines.GIB), start=True)
        services.peers["h2"] = Heir(host, "h2")
        keeper = here.by_name("g1")
        async with keeper._lock:  # Something else is just being done to it, and the burial waits for that.
            burial = asyncio.create_task(keeper.cut_off())
            await asyncio.sleep(0)
            starting = asyncio.create_task(here.start(keeper))
            await asyncio.sleep(0)
        await burial
        with pytest.raises(Refused):
            await starting
        assert keeper.machine is None

    play(work)


@pytest.mark.parametrize("ran", [True, False])
def test_a_restart_policy_starts_nothing_of_which_others_may_have_an_heir(*, ran: bool) -> None:
    async def work(host: SimHost, services: SimServices) -> None:
        CountingKeeper.begun.clear()
        services.journal.put_token(SPEC.uuid, Token(Phase.OWNER, 1))
        keeper = CountingKeeper(services, SPEC.uuid, SPEC)
        services.journal.put_guest(SPEC, keeper.token, "running")
        resident: Any = keeper.resident
        resident.want("running", "it ended by itself, and is started again")
        resident._due_s = 0.0
        if not ran:
            services.journal.cut_off(SPEC.name)
        await keeper.tick()
        assert CountingKeeper.begun == ([0] if ran else [])

    play(work)


class Fed(Watchdog):
    """Counts what it gets."""

    def __init__(self) -> None:
        self.meals = 0

    def feed(self) -> None:
        self.meals += 1

    def disarm(self) -> None:
        self.meals = -1


class NumberedGuard(Guard):
    """The real one; its guests are numbers, and it is as late as the test says."""

    def __init__(self, until_s: float) -> None:
        self.dog, self.at_s = Fed(), 0.0
        super().__init__(self.dog, until_s)
        self.living: set[int] = set()
        self.killed: set[int] = set()

    def look_at(self, at_s: float) -> bool:
        """Whether the watchdog was fed then."""
        self.at_s, before = at_s, self.dog.meals
        self.look()
        return self.dog.meals > before

    def _now_s(self) -> float:
        return self.at_s

    def _kill(self, handle: int) -> None:
        self.killed.add(handle)

    def _gone(self, handles: list[int]) -> list[int]:
        return [handle for handle in handles if handle not in self.living]

    def _close(self, handle: int) -> None:
        """A number is not open."""


def test_a_new_guard_that_is_not_told_of_all_guests_lets_the_machine_be_reset() -> None:
    """Its agent may stand still just between the two words. Whatever runs then is under nobody's guard."""
    guard = NumberedGuard(until_s=3.0)
    assert guard.look_at(1.0)
    assert not guard.answer({"do": "renew", "until_s": 5.0}, [])["over"]
    assert guard.look_at(5.1), "it may yet hear of them"
    assert not guard.look_at(5.1 + lease.KILL_S)


def test_one_that_has_all_of_them_feeds_on_once_they_are_gone() -> None:
    guard = NumberedGuard(until_s=5.0)
    guard.living = {7}
    assert guard.answer({"do": "admit", "guest": "g1"}, [7])["guests"] == ["g1"]
    assert guard.answer({"do": "look"}, [])["awaits"]
    assert not guard.answer({"do": "complete"}, [])["awaits"]
    assert guard.look_at(5.1)
    assert guard.killed == {7}
    assert not guard.look_at(5.1 + lease.KILL_S)
    guard.living.clear()
    assert guard.look_at(6.0 + lease.KILL_S)


def test_one_that_has_no_forerunner_awaits_nobody() -> None:
    """A host that has just booted, or has no charter yet."""
    guard = NumberedGuard(until_s=0.0)
    assert guard.look_at(100.0)
    assert guard.answer({"do": "look"}, [])["over"]


def test_one_whose_forerunners_lease_is_over_feeds_nobody_before_all_are_buried() -> None:
    """What ran under that one may run still, under nobody's guard."""
    guard = NumberedGuard(until_s=5.0)
    assert not guard.look_at(5.1 + lease.KILL_S)
    assert not guard.answer({"do": "begin", "until_s": 60.0}, [])["over"]
    assert guard.look_at(5.2 + lease.KILL_S)
