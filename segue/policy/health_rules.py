"""Puts an operator's rules beside the built-in ones, and says what is wrong with them. It must judge no part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf, isfinite
from typing import Final

from segue.model.health import TROUBLE, Kind, Level, Measure, Rule
from segue.policy.health_table import BUILT_IN

UNJUDGED: Final[Mapping[Kind, frozenset[str]]] = {Kind.TEMPERATURE: frozenset({"celsius"})}
"""What probes see, and no built-in rule speaks of."""
SPAN_MOST_S: Final = 60 * 86_400.0


def together(own: Sequence[Rule], without: Collection[str] = ()) -> tuple[Rule, ...]:
    """The built-in rules and an operator's: one of the same name takes the built-in's place."""
    replaced = {rule.name for rule in own} | set(without)
    return (*(rule for rule in BUILT_IN if rule.name not in replaced), *own)


def faults(own: Sequence[Rule], without: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with an operator's rules; each says what to do."""
    names = [rule.name for rule in own]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two rules are called {name}: rename one"
    known = sorted(rule.name for rule in BUILT_IN)
    for name in sorted(set(without) - set(known)):
        yield f"`without` names {name}, and there is no such rule; there are: {', '.join(known)}"
    for rule in own:
        for fault in of_one(rule):
            yield f"rule {rule.name or '(without a name)'}: {fault}"


def of_one(rule: Rule) -> Iterator[str]:
    """What is wrong with one rule."""
    limits = [(level, rule.limit(level)) for level in TROUBLE]
    given = [(level, limit) for level, limit in limits if limit is not None]
    if not rule.name or not rule.signal or not rule.says:
        yield "`name`, `signal` and `says` must not be empty"
    if not given:
        yield "it has no limit: give `suspect`, `failing` or `dead`"
    for level, limit in given:
        if not (isfinite(limit) and limit > 0):
            yield f"`{level}` is {limit:g}: a limit is a number above 0"
    for key, seconds in (("span_s", rule.span_s), ("calm_s", rule.calm_s)):
        if not 0 <= seconds <= SPAN_MOST_S:
            yield f"`{key}` is {seconds:g}: it must lie between 0 and {SPAN_MOST_S:g} (60 days)"
    if rule.span_s == 0 and rule.measure is not Measure.STEADY:
        yield f"`span_s` is 0: the measure `{rule.measure}` needs a span"
    if not 0 < rule.release <= 1:
        yield f"`release` is {rule.release:g}: it must lie above 0, and be 1 at most"
    if (rule.measure is Measure.RATIO) != bool(rule.per):
        yield "`per` names the signal to divide by: it goes with the measure `ratio`, and with no other"
    if not 0 <= rule.at_least < inf:
        yield f"`at_least` is {rule.at_least:g}: it must be 0 or more"
    yield from _unseen(rule)
    yield from _order(rule, given)


def signals(kind: Kind) -> frozenset[str]:
    """All that probes see of such a part."""
    named = {word for rule in BUILT_IN if rule.kind is kind for word in (rule.signal, rule.per) if word}
    return frozenset(named) | UNJUDGED.get(kind, frozenset())


def _unseen(rule: Rule) -> Iterator[str]:
    """A rule of what no probe sees would be silently without effect."""
    known = signals(rule.kind)
    for key, signal in (("signal", rule.signal), ("per", rule.per)):
        if signal and signal not in known:
            hint = f"there are: {', '.join(sorted(known))}"
            yield f"`{key}` is {signal}, which no probe sees of a part of the kind {rule.kind}; {hint}"


def _order(rule: Rule, given: Sequence[tuple[Level, float]]) -> Iterator[str]:
    """A graver level has the graver limit, or a part would be failing before it is suspect."""
    for (mild, first), (grave, second) in pairwise(given):
        if first < second if rule.below else first > second:
            hint = "swap them" if rule.below else "swap them, or say `below = true` where less is worse"
            yield f"`{grave}` ({second:g}) is reached before `{mild}` ({first:g}): {hint}"
