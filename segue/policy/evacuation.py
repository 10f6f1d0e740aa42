"""Empties a host: which guest goes where, in which order, and which moves may run at once. Pure; it starts nothing.

Every guest is placed or named with the reason. Memory of a target counts from the plan on, whether or not the guest
is there yet, so that a target is never promised more than it has, not even for a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

EXACT_MOST: Final = 1_100
"""Assignments that are all looked at; where there are more, a good one is improved until nothing helps."""
CALM_SHARE: Final = 0.6
"""A guest that writes more than this share of its part of the link goes alone: its rounds would hardly shrink."""
REWRITTEN_MOST: Final = 0.9
"""A guest cannot write faster than the copy for ever: the engine throttles it or gives up. It counts as this share."""
IMPROVEMENTS_MOST: Final = 50


@dataclass(frozen=True)
class Leaving:
    """A guest that has to go. `obstacles`: host -> why it cannot go there; a host that is not named takes it."""

    name: str
    memory_bytes: int
    copied_bytes: int
    dirty_bytes_per_s: float = 0.0
    disk_bytes: int = 0
    """Of disks that have to come along: they travel once."""
    obstacles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """A host that may take guests in. Bytes per second over its own link, as a probe measured it."""

    name: str
    memory_free_bytes: int
    link_bytes_per_s: float


@dataclass(frozen=True)
class Transfer:
    """One guest's move, in the order of the plan. `work_bytes`: what will travel, what is rewritten meanwhile too."""

    guest: str
    to: str
    memory_bytes: int
    work_bytes: float
    dirty_bytes_per_s: float


@dataclass(frozen=True)
class Plan:
    """Moves in the order in which they begin; guests that stay, and why; seconds that the links alone take."""

    transfers: tuple[Transfer, ...]
    staying: Mapping[str, str]
    links_s: float


def plan(guests: Sequence[Leaving], rooms: Sequence[Room], source_bytes_per_s: float) -> Plan:
    """As many guests as there is room for, so that the last one is gone as soon as the links allow.

    The links bound the time: all bytes leave by the source's, and each target's bytes come by its own. Whatever the
    order, no plan is faster; the longest move begins first, so that no link is idle while one is left.
    """
    ordered = sorted(guests, key=lambda g: (-work_bytes(g, source_bytes_per_s), g.name))
    chosen = _Search(ordered, rooms, source_bytes_per_s).best()
    transfers = tuple(
        Transfer(g.name, to, g.memory_bytes, work_bytes(g, source_bytes_per_s), g.dirty_bytes_per_s)
        for g, to in zip(ordered, chosen, strict=True)
        if to
    )
    staying = {g.name: _why(g, rooms) for g, to in zip(ordered, chosen, strict=True) if not to}
    return Plan(transfers, staying, links_s(transfers, rooms, source_bytes_per_s))


def work_bytes(guest: Leaving, link_bytes_per_s: float) -> float:
    """Bytes that travel until the guest has gone: its disks, and rounds of pre-copy, which are a geometric series."""
    rewritten = min(guest.dirty_bytes_per_s / link_bytes_per_s, REWRITTEN_MOST) if link_bytes_per_s else 0.0
    return guest.disk_bytes + guest.copied_bytes / (1 - rewritten)


def links_s(transfers: Iterable[Transfer], rooms: Iterable[Room], source_bytes_per_s: float) -> float:
    """Seconds that the busiest link takes for these moves; nothing can be faster."""
    coming: dict[str, float] = {}
    for transfer in transfers:
        coming[transfer.to] = coming.get(transfer.to, 0.0) + transfer.work_bytes
    speeds = {room.name: room.link_bytes_per_s for room in rooms}
    return max([sum(coming.values()) / source_bytes_per_s, *(coming[to] / speeds[to] for to in coming)])


def admit(
    waiting: Sequence[Transfer], running: Sequence[Transfer], source_bytes_per_s: float, parallel: int
) -> tuple[Transfer, ...]:
    """Which of those that wait begin now; at most `parallel` at once on the source's link and on each target's."""
    now = list(running)
    begun: list[Transfer] = []
    for transfer in waiting:
        if len(now) >= parallel:
            break
        together = [*now, transfer]
        if _fit_together(together, source_bytes_per_s):
            now.append(transfer)
            begun.append(transfer)
    return tuple(begun)


def _fit_together(together: Sequence[Transfer], source_bytes_per_s: float) -> bool:
    """One alone always may; several only while each of them still gains on what its guest writes."""
    part = source_bytes_per_s / len(together)
    return len(together) == 1 or all(each.dirty_bytes_per_s <= CALM_SHARE * part for each in together)


Cost = tuple[int, float, float]


class _Search:
    """Looks for the assignment of guests to targets. A guest without a target stays; '' stands for that."""

    def __init__(self, guests: Sequence[Leaving], rooms: Sequence[Room], source_bytes_per_s: float) -> None:
        self._guests = guests
        self._work = [work_bytes(guest, source_bytes_per_s) for guest in guests]
        self._rooms = {room.name: room for room in rooms}
        self._options = [[*(r.name for r in rooms if r.name not in guest.obstacles), ""] for guest in guests]

    def best(self) -> tuple[str, ...]:
        """Exact where few assignments are possible."""
        possible = 1
        for options in self._options:
            possible *= len(options)
        if possible <= EXACT_MOST:
            return min(self._all(), key=self._cost)
        return self._improved(self._greedy())

    def _all(self) -> Iterator[tuple[str, ...]]:
        """Every assignment that the targets' memory allows."""

        def extend(chosen: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
            if len(chosen) == len(self._guests):
                yield chosen
                return
            for option in self._options[len(chosen)]:
                if self._has_room(longer := (*chosen, option)):
                    yield from extend(longer)

        return extend(())

    def _greedy(self) -> tuple[str, ...]:
        """The largest memory first, as it is the hardest to place; each where it costs the least."""
        chosen = [""] * len(self._guests)
        for index in sorted(range(len(chosen)), key=lambda i: -self._guests[i].memory_bytes):
            chosen[index] = min(
                (o for o in self._options[index] if self._has_room(self._with(chosen, index, o))),
                key=lambda option: self._cost(self._with(chosen, index, option)),
            )
        return tuple(chosen)

    def _improved(self, chosen: tuple[str, ...]) -> tuple[str, ...]:
        for _ in range(IMPROVEMENTS_MOST):
            better = min(self._neighbours(chosen), key=self._cost, default=chosen)
            if self._cost(better) >= self._cost(chosen):
                return chosen
            chosen = better
        return chosen

    def _neighbours(self, chosen: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """A guest that stays or goes to the busiest target elsewhere, alone or in exchange for another."""
        count = len(chosen)
        busiest = self._busiest(chosen)
        for index in (i for i, to in enumerate(chosen) if to in {"", busiest}):
            for option in self._options[index]:
                once = self._with(chosen, index, option)
                if self._has_room(once):
                    yield once
                for other in range(count):
                    swapped = self._with(once, other, chosen[index])
                    if other != index and chosen[index] in self._options[other] and self._has_room(swapped):
                        yield swapped

    def _busiest(self, chosen: Sequence[str]) -> str:
        seconds = self._seconds(chosen)
        return max(seconds, key=lambda name: seconds[name], default="")

    def _seconds(self, chosen: Sequence[str]) -> dict[str, float]:
        """How long each target's link takes for what comes to it."""
        seconds = dict.fromkeys(self._rooms, 0.0)
        for to, work in zip(chosen, self._work, strict=True):
            if to:
                seconds[to] += work / self._rooms[to].link_bytes_per_s
        return seconds

    def _cost(self, chosen: Sequence[str]) -> Cost:
        """Guests that stay count before time: (how many, the busiest target's seconds, all targets' seconds)."""
        seconds = self._seconds(chosen).values()
        return sum(not to for to in chosen), max(seconds, default=0.0), sum(seconds)

    def _has_room(self, chosen: Sequence[str]) -> bool:
        taken = dict.fromkeys(self._rooms, 0)
        for to, guest in zip(chosen, self._guests, strict=False):
            if to:
                taken[to] += guest.memory_bytes
        return all(taken[name] <= room.memory_free_bytes for name, room in self._rooms.items())

    @staticmethod
    def _with(chosen: Sequence[str], index: int, option: str) -> tuple[str, ...]:
        return (*chosen[:index], option, *chosen[index + 1 :])


def _why(guest: Leaving, rooms: Sequence[Room]) -> str:
    if not rooms:
        return "there is no other host"
    reasons = [f"{room.name}: {guest.obstacles.get(room.name) or _no_room(guest, room)}" for room in rooms]
    return "; ".join(reasons)


def _no_room(guest: Leaving, room: Room) -> str:
    if guest.memory_bytes > room.memory_free_bytes:
        return "it has too little memory"
    return "its memory is taken by other guests that go there"
