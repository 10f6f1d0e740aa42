"""Empties hosts: every guest gets a target that is not emptied too, or a reason why it stays. Pure; moves nothing.

Planned again from whatever the fleet has come to, the same function goes on: there is no state of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from segue.errors import Kind, Refused
from segue.model.fleet import Fleet
from segue.model.plan import Move, Plan, Wave
from segue.policy import likes, outlook, reasons, repair, timetable
from segue.policy.board import Board
from segue.policy.outlook import Basis
from segue.policy.timetable import Link, Roads, Slots

LOOKED_AT: Final = 24
"""Targets that would take the guest, least taxed first: the best of so many is good enough in a large fleet."""
UNEVEN: Final = 0.2
"""A full target counts as busy: filling a host by this share of it is worth one share of the drain's time."""
STRAINED: Final = 10.0
"""A soft rule of weight 0.1 is worth doubling the time of the move."""
WAVES_MOST: Final = 4


@dataclass(frozen=True)
class Orders:
    """How a drain may be done."""

    slots: Slots = field(default_factory=Slots)
    basis: Basis = field(default_factory=Basis)
    make_room: bool = True
    """Guests of other hosts may be moved out of the way, where nothing else helps."""


def hosts_of(fleet: Fleet, label: str, value: str) -> tuple[str, ...]:
    """The hosts of a domain. Raises Refused where there is none, and where none is named: hosts without a label are
    no domain."""
    if not label or not value:
        raise Refused(
            what="nothing is drained",
            why="neither a host nor a domain is named",
            todo="Name hosts, or a label with its value, as rack=r7.",
            kind=Kind.USAGE,
        )
    found = tuple(host.name for host in fleet.hosts if host.domain(label) == value)
    if not found:
        known = sorted({host.domain(label) for host in fleet.hosts} - {""})
        raise Refused(
            what=f"nothing is drained for {label}={value}",
            why=f"no host has {label}={value}",
            todo=f"Known of {label}: {', '.join(known[:20]) or 'nothing'}.",
            kind=Kind.NOT_FOUND,
        )
    return found


def plan(fleet: Fleet, emptied: Collection[str], orders: Orders | None = None) -> Plan:
    """Moves that empty these hosts as soon as the links allow; guests that cannot go, with the reason for each."""
    known = {host.name for host in fleet.hosts}
    if unknown := sorted(set(emptied) - known):
        raise Refused(
            what="nothing is drained",
            why=f"there is no host {', '.join(unknown)}",
            todo="Name hosts of the fleet.",
            kind=Kind.NOT_FOUND,
        )
    return Drain(Board(fleet, emptied), sorted(emptied), orders or Orders()).plan()


class Drain:
    """One drain on a board on which the hosts to be emptied are closed already."""

    def __init__(
        self, board: Board, emptied: Sequence[str], orders: Orders, roads: Roads | None = None
    ) -> None:
        self._board, self._orders = board, orders
        self._emptied = [board.host_number[name] for name in emptied]
        self._roads = roads or Roads(board.fleet, orders.slots)
        self._busy_s: dict[Link, float] = {}
        self._near: dict[tuple[str, ...], list[int]] = {}
        self._targets: list[tuple[float, int]] = []
        self._waves: list[dict[int, int]] = [{}]
        """guest -> the host that it leaves, for each wave."""

    def plan(self) -> Plan:
        """Chooses, mends and schedules."""
        staying, leaving = self._sort_out()
        left = self.assign(leaving)
        if left:
            left = repair.reassign(self._board, left, leaving)
        self._waves[0] = {g: source for g, source in leaving.items() if self._board.at[g] != source}
        for attempt in range(WAVES_MOST):
            before = len(left)
            if left:
                left = self._next_wave(left, leaving, make_room=attempt > 0)
            if attempt and len(left) == before:
                break
        staying |= {self._board.guests[guest].name: self._why(guest) for guest in left}
        return self._scheduled(staying)

    def plan_simply(self) -> Plan | None:
        """The plan where every guest finds a target at once, or nothing. Leaves its moves on the board, unsettled."""
        staying, leaving = self._sort_out()
        if staying or self.assign(leaving):
            return None
        self._waves[0] = dict(leaving)
        return self._scheduled({})

    def assign(self, leaving: Mapping[int, int]) -> list[int]:
        """Gives each of them a target; those that found none are returned."""
        self._targets = [(self._tax(h), h) for h, is_open in enumerate(self._board.open) if is_open]
        heapq.heapify(self._targets)
        return [guest for guest in self._order(leaving) if not self._assign(guest)]

    def _sort_out(self) -> tuple[dict[str, str], dict[int, int]]:
        """(guests that stay, guest -> the host that it leaves)."""
        staying, leaving = {}, {}
        names = {self._board.hosts[host].name for host in self._emptied}
        for spec in self._board.guests:
            if spec.moving_to in names and spec.host not in names:
                staying[spec.name] = f"it is on its way to {spec.moving_to}; plan again when that is over"
        for host in self._emptied:
            for guest in sorted(self._board.on[host]):
                spec = self._board.guests[guest]
                if spec.moving_to:
                    staying[spec.name] = f"it is on its way to {spec.moving_to}; plan again when that is over"
                elif spec.pinned:
                    staying[spec.name] = f"it must not move: {spec.pinned}"
                else:
                    leaving[guest] = host
        return staying, leaving

    def _next_wave(self, left: list[int], leaving: Mapping[int, int], *, make_room: bool) -> list[int]:
        """What could not go may go where the moves so far leave room; where that is not enough, room is made."""
        if make_room and self._orders.make_room:
            self._waves[-1] |= repair.make_room(self._board, left, self._moved())
        self._board.settle()
        still = self.assign({guest: leaving[guest] for guest in left})
        self._waves.append({guest: leaving[guest] for guest in left if guest not in still})
        return still

    def _moved(self) -> set[int]:
        return {guest for wave in self._waves for guest in wave}

    def _order(self, leaving: Mapping[int, int]) -> list[int]:
        """The important first, then those that fit in few places; a group that stays together comes in one go."""
        board, guests = self._board, self._board.guests
        found = sorted(
            leaving,
            key=lambda g: (
                -guests[g].importance,
                len(board.kinds_for(g)),
                -guests[g].needs.memory_bytes,
                guests[g].name,
            ),
        )
        together = (other for guest in found for other in board.spread.companions(guest))
        return [guest for guest in dict.fromkeys(together) if guest in leaving]

    def _assign(self, guest: int) -> bool:
        """The cheapest of the targets that are taxed least, and of those behind the same uplinks, if it takes one."""
        passed: list[int] = []
        offers: list[tuple[float, int]] = []
        while self._targets and len(offers) < LOOKED_AT:
            host = heapq.heappop(self._targets)[1]
            passed.append(host)
            if self._takes(guest, host):
                offers.append((self._cost(guest, host), host))
        offers += [(self._cost(guest, h), h) for h in self._neighbours(guest) if self._takes(guest, h)]
        if offers:
            target = min(offers)[1]
            for link, seconds in self._seconds(guest, target).items():
                self._busy_s[link] = seconds
            self._board.move(guest, target)
        for host in passed:
            heapq.heappush(self._targets, (self._tax(host), host))
        return bool(offers)

    def _takes(self, guest: int, host: int) -> bool:
        return self._board.takes(guest, host) and repair.group_fits(self._board, guest, host)

    def _neighbours(self, guest: int) -> list[int]:
        """Hosts that it reaches without an uplink; none where no uplinks are known."""
        if not self._board.fleet.uplinks:
            return []
        if not self._near:
            for host, there in enumerate(self._board.hosts):
                if self._board.open[host]:
                    self._near.setdefault(self._roads.places(there.name), []).append(host)
        return self._near.get(self._roads.places(self._board.hosts[self._board.at[guest]].name), [])

    def _tax(self, host: int) -> float:
        """What a target has to carry: seconds of its link in this drain, and how full it is."""
        coming_s = self._busy_s.get(("in", "", self._board.hosts[host].name), 0.0)
        return coming_s + UNEVEN * max(1.0, coming_s) * max(self._board.share[host][:3])

    def _cost(self, guest: int, host: int) -> float:
        """Seconds until the busiest link of its way is free of it, dearer on full hosts and against soft rules."""
        longest_s = max(self._seconds(guest, host).values())
        full = UNEVEN * max(1.0, longest_s) * max(self._board.share[host][:3])
        return longest_s * (1 + STRAINED * likes.strain(self._board, guest, host)) + full

    def _seconds(self, guest: int, host: int) -> dict[Link, float]:
        """Seconds that each link of its way is busy then, but for its own host's: that one is the same for all."""
        source, target = self._board.hosts[self._board.at[guest]].name, self._board.hosts[host].name
        copied = self._board.guests[guest].copied_bytes
        return {
            link: self._busy_s.get(link, 0.0) + copied / self._roads.speed(link)
            for link in self._roads.between(source, target)
            if link[0] != "out"
        }

    def _why(self, guest: int) -> str:
        others = (h for h in range(len(self._board.hosts)) if h not in self._emptied)
        return reasons.together({self._board.hosts[h].name: self._board.refusals(guest, h) for h in others})

    def _scheduled(self, staying: Mapping[str, str]) -> Plan:
        """Each wave begins when the one before it has ended."""
        waves, begins_s, least_s = [], 0.0, 0.0
        for moved in (wave for wave in self._waves if wave):
            wave, ends_s, at_least_s = wave_of(self._board, moved, self._roads, self._orders.basis, begins_s)
            waves.append(wave)
            begins_s, least_s = ends_s, least_s + at_least_s
        return Plan(tuple(waves), dict(sorted(staying.items())), begins_s, least_s)


def wave_of(
    board: Board, moved: Mapping[int, int], roads: Roads, basis: Basis, begins_s: float
) -> tuple[Wave, float, float]:
    """(the wave, when it ends, seconds that it takes at least). moved: guest -> the host that it leaves."""
    jobs, outlooks = [], []
    for guest, source in moved.items():
        spec, here, there = board.guests[guest], board.hosts[source], board.hosts[board.at[guest]]
        foreseen = outlook.of_move(spec, here, there, basis)
        outlooks.append(foreseen)
        jobs.append(roads.job(spec, here.name, there.name, foreseen, basis))
    spans = timetable.schedule(jobs, roads)
    moves = [
        Move(
            job.guest,
            job.source,
            job.target,
            foreseen,
            why=f"{job.source} is emptied"
            if not board.open[board.host_number[job.source]]
            else "it makes room",
            begins_s=begins_s + span.begins_s,
            ends_s=begins_s + span.ends_s,
        )
        for job, foreseen, span in zip(jobs, outlooks, spans, strict=True)
    ]
    moves.sort(key=lambda move: (move.begins_s, move.ends_s, move.guest))
    ends_s = max((move.ends_s for move in moves), default=begins_s)
    return Wave(tuple(moves)), ends_s, timetable.least_s(jobs, roads)
