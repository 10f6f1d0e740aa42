"""Plans moves that level the load, and moves that mend what breaks a rule; says for each move why. Pure.

No guest is moved twice in a plan, each move lowers the imbalance by more than it costs, and every host has room for
all that comes to it before anything has left it: so nothing goes back and forth and nothing is promised twice.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final

from segue.model.balance import BalanceSettings, Temper
from segue.model.fleet import Fleet
from segue.model.plan import BalancePlan, Move, Outlook, Plan, Wave
from segue.policy import likes, mending, outlook, placement, temper, timetable
from segue.policy.board import NOWHERE, Board, peak_load
from segue.policy.imbalance import Imbalance
from segue.policy.outlook import Basis
from segue.policy.search import Breadth, Search
from segue.policy.timetable import Roads, Slots

TINY: Final = 16
SMALL: Final = 300
"""Hosts up to which all moves, or all that promise something, are weighed. In larger fleets fewer: it costs little."""
NARROW: Final = Breadth(guests=4, targets=4, good_enough=0.9)
WAVES_MOST: Final = 8


def plan(
    fleet: Fleet,
    remembered: Temper,
    now_s: float,
    settings: BalanceSettings | None = None,
    basis: Basis | None = None,
    slots: Slots | None = None,
) -> tuple[BalancePlan, Temper]:
    """What to move now, and what to remember for the next look."""
    settings, basis = settings or BalanceSettings(), basis or Basis()
    working = Balance(fleet, remembered, now_s, settings, basis)
    before = working.imbalance.score()
    after_look, calm = temper.look(remembered, before, working.hottest(), settings)
    working.mend()
    if not calm:
        working.level()
    made = working.scheduled(Roads(fleet, slots or Slots()))
    why = calm or ("" if made.moves else "no move gains more than it costs")
    return BalancePlan(made, before, working.imbalance.score(), why), after_look


class Balance:
    """One plan in the making."""

    def __init__(
        self, fleet: Fleet, remembered: Temper, now_s: float, settings: BalanceSettings, basis: Basis
    ) -> None:
        self.board = Board(fleet)
        self.imbalance = Imbalance(self.board, settings.weights)
        self._settings, self._basis, self._remembered, self._now_s = settings, basis, remembered, now_s
        self._margin = temper.margin(remembered.bookings, settings)
        self._peaks = [sum(peak_load(self.board.guests[g]).cpu_cores for g in on) for on in self.board.on]
        self._foreseen: dict[tuple[int, float], Outlook] = {}
        self._held: dict[int, bool] = {}
        self._prices: dict[int, float | None] = {}
        self._moves: list[dict[int, Move]] = [{}]
        """guest -> its move, for each wave; without its times yet."""
        self._staying: dict[str, str] = {}

    def hottest(self) -> float:
        """The largest share of memory or processors that any open host uses."""
        shares = (share for share, is_open in zip(self.board.share, self.board.open, strict=True) if is_open)
        return max((max(share[0], share[2]) for share in shares), default=0.0)

    def mend(self) -> None:
        """Moves guests that are where they must not be. These moves need not gain anything."""
        for found in mending.wrongs(self.board):
            self._mend(found)

    def level(self) -> None:
        """Moves what gains most, until the plan is long enough or nothing is worth it."""
        hosts = self.imbalance.hosts
        breadth = NARROW if hosts > SMALL else Breadth(exact=hosts <= TINY)
        for _ in range(WAVES_MOST):
            search = Search(self.board, self.imbalance, self._price, self._may_go, breadth=breadth)
            begun = self._count()
            if self._enough():
                return
            for found in search.moves():
                self._note(found.guest, found.source, found.target, found.gain)
                if self._enough():
                    return
            if self._count() == begun:
                return
            self.board.settle()
            self._moves.append({})

    def scheduled(self, roads: Roads) -> Plan:
        """The moves with their times; each wave begins when the one before it has ended."""
        waves, begins_s, least_s = [], 0.0, 0.0
        for moves in (each for each in self._moves if each):
            jobs = [
                roads.job(self.board.guests[guest], move.source, move.target, move.outlook, self._basis)
                for guest, move in moves.items()
            ]
            spans = timetable.schedule(jobs, roads)
            timed = [
                replace(move, begins_s=begins_s + span.begins_s, ends_s=begins_s + span.ends_s)
                for move, span in zip(moves.values(), spans, strict=True)
            ]
            timed.sort(key=lambda move: (move.begins_s, move.ends_s, move.guest))
            waves.append(Wave(tuple(timed)))
            begins_s, least_s = max(move.ends_s for move in timed), least_s + timetable.least_s(jobs, roads)
        return Plan(tuple(waves), dict(sorted(self._staying.items())), begins_s, least_s)

    def _count(self) -> int:
        return sum(len(wave) for wave in self._moves)

    def _enough(self) -> bool:
        if self._count() >= self._settings.moves_most:
            return True
        level = self.imbalance.score() <= self._settings.stop_at
        return level and self.hottest() <= self._settings.hot_share

    def _mend(self, wrong: mending.Wrong) -> None:
        """One wrong: the guest that puts it right for the least moves."""
        if self._count() >= self._settings.moves_most or not mending.still(self.board, wrong):
            return
        free = [guest for guest in wrong.guests if not self._is_held(guest)]
        offers = [
            (self._mending_cost(guest, target, wrong), guest, target)
            for guest in free
            for target in mending.targets(self.board, guest, better=wrong.soft)
        ]
        cost, guest, target = min(offers, default=(inf, wrong.guests[0], NOWHERE))
        if wrong.soft and cost >= 0:
            return
        if target == NOWHERE:
            why = self._why_held(guest) or mending.why_not(self.board, guest)
            self._staying[self.board.guests[guest].name] = f"{wrong.what}; {why}"
            return
        gain, source = self.imbalance.gain(guest, target), self.board.at[guest]
        self.imbalance.shift(guest, target)
        self.board.move(guest, target)
        self._note(guest, source, target, gain, wrong.what)

    def _mending_cost(self, guest: int, target: int, wrong: mending.Wrong) -> float:
        """Below zero where it is worth more than it costs, whatever it mends."""
        uneven = -self.imbalance.gain(guest, target)
        strain = likes.strain(self.board, guest, target) - likes.strain(
            self.board, guest, self.board.at[guest]
        )
        price = self._price(guest, target) if wrong.soft else self._cost(guest, target)
        return uneven + strain + (price or 0.0)

    def _note(self, guest: int, source: int, target: int, gain: float, mends: str = "") -> None:
        """A move that the board has made already."""
        spec, here, there = self.board.guests[guest], self.board.hosts[source], self.board.hosts[target]
        self._peaks[target] += peak_load(spec).cpu_cores
        cost = self._cost(guest, target, source)
        reason = f"mends: {mends}" if mends else f"{here.name} then at {placement.filled(self.board, source)}"
        why = f"{reason}; {there.name} then at {placement.filled(self.board, target)}"
        foreseen = self._outlook(guest, source, target)
        self._moves[-1][guest] = Move(spec.name, here.name, there.name, foreseen, why, gain, cost)
        self._held[guest] = True
        self._prices[guest] = None

    def _price(self, guest: int, target: int | None = None) -> float | None:
        """What a move must gain at least: its cost with the margin; None for a guest that is left alone."""
        if target is not None:
            return self._margin * self._cost(guest, target) + self._settings.gain_least
        if guest not in self._prices:
            held = self._is_held(guest)
            self._prices[guest] = (
                None if held else self._margin * self._cost(guest) + self._settings.gain_least
            )
        return self._prices[guest]

    def _cost(self, guest: int, target: int | None = None, source: int | None = None) -> float:
        foreseen = self._outlook(guest, self.board.at[guest] if source is None else source, target)
        return placement.move_cost(foreseen, self.board.guests[guest].importance, self._settings.prices)

    def _outlook(self, guest: int, source: int, target: int | None = None) -> Outlook:
        """Over the source's link alone while no target is known."""
        path = self.board.hosts[source].link_bytes_per_s
        if target is not None:
            path = min(path, self.board.hosts[target].link_bytes_per_s)
        found = self._foreseen.get((guest, path))
        if found is None:
            found = outlook.at_speed(self.board.guests[guest], path, self._basis)
            self._foreseen[guest, path] = found
        return found

    def _may_go(self, guest: int, target: int) -> bool:
        """A target that is not loaded too much by its peaks, and breaks no more soft rules than the guest does now."""
        spec, there = self.board.guests[guest], self.board.hosts[target]
        load = self._peaks[target] + peak_load(spec).cpu_cores
        if load > self._settings.cpu_load_most * there.cpus:
            return False
        now = likes.strain(self.board, guest, self.board.at[guest])
        return likes.strain(self.board, guest, target) <= now

    def _is_held(self, guest: int) -> bool:
        found = self._held.get(guest)
        if found is None:
            found = self._held[guest] = self.board.at[guest] == NOWHERE or bool(self._why_held(guest))
        return found

    def _why_held(self, guest: int) -> str:
        foreseen = self._outlook(guest, self.board.at[guest])
        return temper.hold_back(
            self.board.guests[guest], self._remembered, self._now_s, foreseen.blackout_s, self._settings
        )
