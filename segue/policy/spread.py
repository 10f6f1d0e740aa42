"""Counts the guests of each rule by domain, so that a rule is judged without looking at other guests. Pure.

A guest that is on its way counts where it is and where it goes: a rule holds at every instant of a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from segue.model.fleet import HOST_DOMAIN, Fleet, FleetGuest, Rule, Spread

Counts = dict[str, int]


class Spreading:
    """Rules by number; hosts and guests by their places in the fleet's tuples."""

    def __init__(self, fleet: Fleet) -> None:
        self.rules: Sequence[Rule] = fleet.rules
        self._leaving: set[int] = set()
        labels = {rule.domain for rule in fleet.rules}
        self._values = {label: [host.domain(label) for host in fleet.hosts] for label in labels}
        self._value = [self._values[rule.domain] for rule in fleet.rules]
        self.of = _memberships(fleet)
        self.members: list[list[int]] = [[] for _ in fleet.rules]
        for guest, rules in enumerate(self.of):
            for rule in rules:
                self.members[rule].append(guest)
        self.held: list[Counts] = [{} for _ in fleet.rules]
        """Guests that are there, that come, and that have not left before the plan's wave is over."""
        self.now: list[Counts] = [{} for _ in fleet.rules]
        """Guests that are there once the moves so far are done."""

    def value(self, rule: int, host: int) -> str:
        """The rule's domain that the host is in."""
        return self._value[rule][host]

    def add(self, guest: int, host: int) -> None:
        """Is there from the start."""
        for rule in self.of[guest]:
            value = self._value[rule][host]
            _count(self.held[rule], value, 1)
            _count(self.now[rule], value, 1)

    def empty(self, host: int, guests: Collection[int], *, back: bool = False) -> None:
        """The host is to be emptied: guests there still keep others apart, but nobody has to join them any more."""
        (self._leaving.discard if back else self._leaving.add)(host)
        for guest in guests:
            for rule in self.of[guest]:
                _count(self.now[rule], self._value[rule][host], 1 if back else -1)

    def hold(self, guest: int, host: int, by: int = 1) -> None:
        """Takes a place there that is not its own yet, or (by -1) no longer."""
        for rule in self.of[guest]:
            _count(self.held[rule], self._value[rule][host], by)

    def shift(self, guest: int, source: int, target: int, by: int = 1) -> None:
        """Will be there instead; until `leave` held in both. source -1: it was nowhere. by -1 takes it back."""
        for rule in self.of[guest]:
            before, after = self._before(rule, source), self._value[rule][target]
            if before != after:
                _count(self.held[rule], after, by)
            _count(self.now[rule], after, by)
            if before is not None and source not in self._leaving:
                _count(self.now[rule], before, -by)

    def leave(self, guest: int, source: int, target: int) -> None:
        """The move is over: its place at the source is free."""
        for rule in self.of[guest]:
            before = self._value[rule][source]
            if before != self._value[rule][target]:
                _count(self.held[rule], before, -1)

    def allows(self, guest: int, source: int, target: int) -> bool:
        """True where no hard rule is broken by its being there."""
        return not self.of[guest] or all(
            not self.rules[rule].hard or self._obeys(rule, source, target) for rule in self.of[guest]
        )

    def broken_by(self, guest: int, source: int, target: int) -> Iterator[Rule]:
        """Rules, hard and soft, that are broken by its being there."""
        for rule in self.of[guest]:
            if not self._obeys(rule, source, target):
                yield self.rules[rule]

    def why(self, rule: Rule, host: int) -> str:
        """The refusal in words."""
        number = next(i for i, each in enumerate(self.rules) if each is rule)
        value = self._value[number][host]
        if rule.spread is Spread.TOGETHER:
            where = " or ".join(sorted(self._anchors(number, None)))
            return f"rule {rule.name}: its group is in {rule.domain} {where}"
        count = self.held[number].get(value, 0)
        return f"rule {rule.name}: {count} of its group in {rule.domain} {value or '(not set)'}"

    def companions(self, guest: int) -> list[int]:
        """Guests that must be on one host with it, itself first."""
        found = [guest]
        for rule in self.of[guest]:
            known = self.rules[rule]
            if known.hard and known.spread is Spread.TOGETHER and known.domain == HOST_DOMAIN:
                found += [other for other in self.members[rule] if other not in found]
        return found

    def _before(self, rule: int, source: int) -> str | None:
        return self._value[rule][source] if source >= 0 else None

    def _obeys(self, rule: int, source: int, target: int) -> bool:
        known = self.rules[rule]
        value, before = self._value[rule][target], self._before(rule, source)
        if known.spread is Spread.APART:
            # A hard rule holds at every instant of a plan, a soft one when all is done.
            counts = self.held[rule] if known.hard else self.now[rule]
            own = value == before and (known.hard or source not in self._leaving)
            return counts.get(value, 0) - own < known.at_most
        anchors = self._anchors(rule, None if source in self._leaving else before)
        return not anchors or value in anchors

    def _anchors(self, rule: int, before: str | None) -> set[str]:
        """Where most of the others are; `before` is where the guest itself is counted."""
        others = dict(self.now[rule])
        if before is not None:
            _count(others, before, -1)
        most = max(others.values(), default=0)
        return {value for value, count in others.items() if count == most > 0}


def _memberships(fleet: Fleet) -> list[tuple[int, ...]]:
    """The rules of each guest; found by a label of theirs, not by trying all."""
    for_all = [number for number, rule in enumerate(fleet.rules) if not rule.members]
    by_label: dict[tuple[str, str], list[int]] = {}
    for number, rule in enumerate(fleet.rules):
        if rule.members:
            by_label.setdefault(min(rule.members.items()), []).append(number)

    def of(guest: FleetGuest) -> tuple[int, ...]:
        likely = (number for item in guest.labels.items() for number in by_label.get(item, ()))
        return (*for_all, *(number for number in likely if fleet.rules[number].takes(guest)))

    return [of(guest) if fleet.rules else () for guest in fleet.guests]


def _count(counts: Counts, value: str, by: int) -> None:
    number = counts.get(value, 0) + by
    if number:
        counts[value] = number
    else:
        counts.pop(value, None)
