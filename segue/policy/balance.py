"""Plans moves that level the load, and moves that mend what breaks a rule; says for each move why. Pure.

No guest is moved twice in a plan, each move lowers the imbalance by more than it costs, and every host has room for
all that comes to it in a wave before anything has left it: nothing goes back and forth, nothing is promised twice.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final

from segue.model.balance import MENDS, BalanceSettings, PlannedMove, Temper
from segue.model.fleet import Fleet
from segue.model.plan import BalancePlan, Move, Outlook, Plan, Wave
from segue.policy import likes, mending, outlook, placement, temper, timetable
from segue.policy.board import NOWHERE, Board, peak_load
from segue.policy.imbalance import Imbalance
from segue.policy.outlook import Basis
from segue.policy.search import Breadth, Found, Search
from segue.policy.timetable import Roads, Slots

TINY_MOST: Final = 16
TINY: Final = Breadth(exact=True, fresh=TINY_MOST)
POLISHED_MOST: Final = 40
SMALL_MOST: Final = 300
SMALL: Final = Breadth(guests=16, targets=16, fresh=16)
LARGE: Final = Breadth(guests=4, targets=4, good_enough=0.8)
"""By the number of hosts: all moves are weighed, those that promise something, or few; few cost little in quality."""
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
    roads = Roads(fleet, slots or Slots())
    working.mend()
    if not calm:
        working.level(settings.gain_least)
    made = working.scheduled(roads)
    if not calm and not made.moves:
        # What was found may help only together, and a plan is what helps move by move: then no move is thought over.
        working = Balance(fleet, remembered, now_s, settings, basis)
        working.mend()
        working.level(inf)
        made = working.scheduled(roads)
    why = calm or ("" if made.moves else "no move gains more than it costs")
    return BalancePlan(made, before, working.imbalance.score(), why), after_look


def listed(plan_: Plan) -> tuple[PlannedMove, ...]:
    """The moves as they are kept while they are carried out."""
    return tuple(
        PlannedMove(m.guest, m.source, m.target, number, m.gain, m.cost, m.why)
        for number, wave in enumerate(plan_.waves)
        for m in wave.moves
    )


class Balance:
    """One plan in the making."""

    def __init__(
        self, fleet: Fleet, remembered: Temper, now_s: float, settings: BalanceSettings, basis: Basis
    ) -> None:
        self._fleet = fleet
        self.board = Board(fleet)
        self.imbalance = Imbalance(self.board, settings.weights)
        self._settings, self._basis, self._remembered, self._now_s = settings, basis, remembered, now_s
        self._margin = temper.margin(remembered.bookings, settings)
        self._peaks = [sum(peak_load(self.board.guests[g]).cpu_cores for g in on) for on in self.board.on]
        self._foreseen: dict[tuple[int, float], Outlook] = {}
        self._held: dict[int, bool] = {}
        self._prices: dict[int, float | None] = {}
        self._waves: list[dict[int, int]] = [{}]
        """guest -> the host it goes to."""
        self._mended: dict[int, str] = {}
        """guest -> what its move mends."""
        self._staying: dict[str, str] = {}

    def hottest(self) -> float:
        """The largest share of memory or processors that any open host uses."""
        shares = (share for share, is_open in zip(self.board.share, self.board.open, strict=True) if is_open)
        return max((max(share[0], share[2]) for share in shares), default=0.0)

    def mend(self) -> None:
        """Moves guests that are where they must not be. These moves need not gain anything."""
        for found in mending.wrongs(self.board):
            self._mend(found)

    def level(self, again: float) -> None:
        """Moves what gains most, until the plan is long enough or nothing is worth it.

        again: what it must gain to send a guest elsewhere that was moved before.
        """
        hosts = self.imbalance.hosts
        small = replace(SMALL, polish=hosts <= POLISHED_MOST)
        breadth = TINY if hosts <= TINY_MOST else small if hosts <= SMALL_MOST else LARGE
        for _ in range(WAVES_MOST):
            begun = self._count()
            search = Search(self.board, self.imbalance, self._price, again, self._may_go, breadth)
            if self._enough():
                return
            for found in search.moves():
                self._level(found)
                if self._enough():
                    return
            if self._count() == begun:
                return
            for guest in self._waves[-1]:
                self._held[guest], self._prices[guest] = True, None
            self.board.settle()
            self._waves.append({})

    def concluded(self) -> list[list[Move]]:
        """The moves of each wave, played through once more from the beginning: what each gains and costs as it stands.

        A move that is not worth it any more, as later ones did its work, is left out: no other counted on it.
        """
        self.board = Board(self._fleet)
        self.imbalance = Imbalance(self.board, self._settings.weights)
        concluded = []
        for wave in self._waves:
            moves = [move for guest, target in wave.items() if (move := self._played(guest, target))]
            concluded.append(moves)
            self.board.settle()
        return [moves for moves in concluded if moves]

    def scheduled(self, roads: Roads) -> Plan:
        """The moves with their times; each wave begins when the one before it has ended."""
        waves, begins_s, least_s = [], 0.0, 0.0
        guests = {guest.name: guest for guest in self._fleet.guests}
        for moves in self.concluded():
            jobs = [roads.job(guests[m.guest], m.source, m.target, m.outlook, self._basis) for m in moves]
            spans = timetable.schedule(jobs, roads)
            timed = [
                replace(move, begins_s=begins_s + span.begins_s, ends_s=begins_s + span.ends_s)
                for move, span in zip(moves, spans, strict=True)
            ]
            timed.sort(key=lambda move: (move.begins_s, move.ends_s, move.guest))
            waves.append(Wave(tuple(timed)))
            begins_s, least_s = max(move.ends_s for move in timed), least_s + timetable.least_s(jobs, roads)
        return Plan(tuple(waves), dict(sorted(self._staying.items())), begins_s, least_s)

    def _count(self) -> int:
        return sum(len(wave) for wave in self._waves)

    def _enough(self) -> bool:
        if self._count() >= self._settings.moves_most:
            return True
        level = self.imbalance.score() <= self._settings.stop_at
        return level and self.hottest() <= self._settings.hot_share

    def _level(self, found: Found) -> None:
        """Takes note of what the search did: a new move, another target for an old one, or none after all."""
        peak = peak_load(self.board.guests[found.guest]).cpu_cores
        if found.source != found.origin:
            self._peaks[found.source] -= peak
        if found.target == found.origin:
            del self._waves[-1][found.guest]
        else:
            self._peaks[found.target] += peak
            self._waves[-1][found.guest] = found.target

    def _played(self, guest: int, target: int) -> Move | None:
        """The move as it stands; None where it may not or need not be made."""
        source, mends = self.board.at[guest], self._mended.get(guest, "")
        if not self.board.takes(guest, target):
            return None
        spec, here, there = self.board.guests[guest], self.board.hosts[source], self.board.hosts[target]
        gain, cost = self.imbalance.gain(guest, target), self._cost(guest, target)
        if not mends and gain < self._margin * cost + self._settings.gain_least:
            return None
        self.imbalance.shift(guest, target)
        self.board.move(guest, target)
        reason = f"{MENDS}{mends}" if mends else f"{here.name} then at {placement.filled(self.board, source)}"
        why = f"{reason}; {there.name} then at {placement.filled(self.board, target)}"
        return Move(spec.name, here.name, there.name, self._outlook(guest, source, target), why, gain, cost)

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
        self.imbalance.shift(guest, target)
        self.board.move(guest, target)
        self._peaks[target] += peak_load(self.board.guests[guest]).cpu_cores
        self._waves[-1][guest] = target
        self._mended[guest] = wrong.what
        self._held[guest], self._prices[guest] = True, None

    def _mending_cost(self, guest: int, target: int, wrong: mending.Wrong) -> float:
        """Below zero where it is worth more than it costs, whatever it mends."""
        uneven = -self.imbalance.gain(guest, target)
        strain = likes.strain(self.board, guest, target) - likes.strain(
            self.board, guest, self.board.at[guest]
        )
        price = self._price(guest, target) if wrong.soft else self._cost(guest, target)
        return uneven + strain + (price or 0.0)

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

    def _cost(self, guest: int, target: int | None = None) -> float:
        foreseen = self._outlook(guest, self.board.at[guest], target)
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
