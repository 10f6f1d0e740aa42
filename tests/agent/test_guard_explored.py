"""An application's life under the real guard, in schedules drawn by chance: whatever dies, or stands still, at whatever
point, nothing of it runs any more once a controller has waited as long as the policy says."""

from __future__ import annotations

import random
from typing import Final

import pytest

from segue.adapters.watchdog import Watchdog
from segue.agent.guard import Guard
from segue.model.lease import Terms
from segue.policy import lease

TERMS: Final = Terms(6.0, 4.0)
SCHEDULES: Final = 2000


class Dog(Watchdog):
    """It knows when it was fed last; opened, it was."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.fed_s = world.now_s

    def feed(self) -> None:
        self._world.fed_s = self._world.now_s

    def disarm(self) -> None:
        raise AssertionError("nobody told it to stop")


class TreeGuard(Guard):
    """The real one. Its handles are the numbers of cgroups."""

    def __init__(self, world: World, until_s: float) -> None:
        self._world = world
        super().__init__(Dog(world), until_s)

    def _now_s(self) -> float:
        return self._world.now_s

    def _kill(self, handle: int) -> None:
        if handle not in self._world.hangs:
            self._world.full.discard(handle)

    def _gone(self, handles: list[int]) -> list[int]:
        return [handle for handle in handles if handle not in self._world.full]

    def _close(self, handle: int) -> None:
        """A number is not open."""


class World:
    """One host: its cgroups, its guard, its watchdog, and an agent that does one step of its work at a time, as
    `plant_app.start`, `container.find`, and `Lease._round` say."""

    admits_first = True
    hands_on = True

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_s, self.fed_s, self.ends_s, self.denied_s = 100.0, 100.0, 0.0, float("inf")
        self.full: set[int] = set()
        """Cgroups in which there is anything."""
        self.runs: set[int] = set()
        """Of these, what was let run."""
        self.hangs: set[int] = set()
        """What no signal ends: it waits in the kernel."""
        self.made = self.stage = 0
        """Of the newest application: 0 nothing, 1 made, 2 admitted, 3 let run."""
        self.guard: TreeGuard | None = TreeGuard(self, 0.0)
        self.told_all = True
        """The guard has heard of all that there is."""
        self._hear(self.guard.answer({"do": "begin", "until_s": self._granted_s()}, []))

    def _granted_s(self) -> float:
        """A lease that is asked for now; nobody grants one once it was refused."""
        return self.now_s + TERMS.lease_s if self.now_s < self.denied_s else 0.0

    def _hear(self, said: dict[str, object]) -> None:
        if not said["over"]:
            self.ends_s = float(str(said["ends_s"]))

    @property
    def is_reset(self) -> bool:
        return self.now_s - self.fed_s >= TERMS.watchdog_s

    def anything_runs(self) -> bool:
        return bool(self.runs & self.full) and not self.is_reset

    def step(self) -> None:
        deeds = [self.look] * 4 + [self.agent_starts] * 3 + [self.agent_renews] * 3
        rare = [self.guard_dies, self.agent_dies, self.it_hangs]
        self.chance.choice(rare if self.chance.random() < 0.05 else deeds)()

    def look(self) -> None:
        if self.guard is not None:
            self.guard.look()

    def guard_dies(self) -> None:
        """Not once it was late: that it feeds too late is counted, and by one guard alone (see policy/lease.py)."""
        if self.now_s < self.ends_s:
            self.guard = None

    def agent_dies(self) -> None:
        """The next one ends what was made and not let run."""
        if self.stage in {1, 2}:
            self._end(self.made)

    def it_hangs(self) -> None:
        self.hangs |= self.runs

    def _end(self, number: int) -> None:
        if number not in self.hangs:
            self.full.discard(number)
            self.stage = 0

    def agent_starts(self) -> None:
        """An application that is to run: made, admitted, let run, each when its turn comes."""
        order = (
            (self._make, self._admit, self._run)
            if self.admits_first
            else (self._make, self._run, self._admit)
        )
        if self.stage == 3 and self.made not in self.full:
            self.stage = 0
        elif self.stage < 3:
            order[self.stage]()

    def _make(self) -> None:
        self.made, self.stage = self.made + 1, 1
        self.full.add(self.made)

    def _admit(self) -> None:
        said = self._ask({"do": "admit", "guest": f"a{self.made}"}, [self.made])
        if said is None or said["over"] or f"a{self.made}" not in list(said["guests"]):  # type: ignore[call-overload]
            self._end(self.made)
        else:
            self.stage += 1

    def _run(self) -> None:
        self.runs |= {self.made} & self.full
        self.stage += 1

    def _ask(self, word: dict[str, object], handles: list[int]) -> dict[str, object] | None:
        return self.guard.answer(word, handles) if self.guard is not None else None

    def agent_renews(self) -> None:
        """One step of a round: it may stand still before the next one for as long as it likes."""
        until_s = self._granted_s()
        if not until_s:
            return
        if self.guard is None:
            self.guard = TreeGuard(self, self.ends_s if self.hands_on else 0.0)
            if not self.hands_on:
                self.guard.answer({"do": "begin", "until_s": until_s}, [])
            return
        said = self.guard.answer({"do": "renew", "until_s": until_s}, [])
        self._hear(said)
        if said["over"]:
            for number in list(self.full):
                self._end(number)
            if not self.full:
                self._hear(self.guard.answer({"do": "begin", "until_s": until_s}, []))
        elif said["awaits"]:
            self._admit_next()

    def _admit_next(self) -> None:
        """One guest with each step, and the last word after all of them."""
        assert self.guard is not None
        known = set(self.guard.answer({"do": "look"}, [])["guests"])
        for number in sorted(self.full):
            if f"a{number}" not in known:
                self.guard.answer({"do": "admit", "guest": f"a{number}"}, [number])
                return
        self.guard.answer({"do": "complete"}, [])

    def rest(self) -> None:
        """As a rule a moment; now and then longer than anything here."""
        self.now_s += self.chance.uniform(0, 0.3 if self.chance.random() < 0.97 else 8.0)


def check(seed: int, kind: type[World] = World) -> None:
    world = kind(seed)
    for _ in range(world.chance.randrange(10, 120)):
        if not world.is_reset:
            world.step()
        world.rest()
    world.denied_s = world.now_s
    proved_s = world.now_s + lease.wait_s(TERMS)
    while world.now_s < proved_s + 20.0:
        assert world.now_s < proved_s or not world.anything_runs(), seed
        if not world.is_reset:
            world.step()
        world.rest()


def check_all(kind: type[World]) -> None:
    for seed in range(SCHEDULES):
        check(seed, kind)


def test_nothing_of_an_application_outlives_the_wait() -> None:
    check_all(World)


def test_it_is_let_run_in_most_schedules() -> None:
    """Else the others would show nothing."""
    ran = 0
    for seed in range(50):
        world = World(seed)
        for _ in range(30):
            world.step()
            world.now_s += 0.1
        ran += world.anything_runs()
    assert ran > 25


class RunsFirst(World):
    """It is let run, and then told to the guard."""

    admits_first = False


class Forgets(World):
    """A guard that takes another's place begins a lease, and hears of the guests later."""

    hands_on = False


class TakesEmpty(World):
    """A cgroup is given to the guard before anything is in it."""

    def _make(self) -> None:
        self.made, self.stage = self.made + 1, 1

    def _run(self) -> None:
        self.full.add(self.made)
        super()._run()


@pytest.mark.parametrize("kind", [RunsFirst, Forgets, TakesEmpty])
def test_an_order_that_is_wrong_is_found(kind: type[World]) -> None:
    with pytest.raises(AssertionError):
        check_all(kind)
