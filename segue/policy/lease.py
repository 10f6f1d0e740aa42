"""How long a guest may run whose host nobody hears, and how long others wait for its end. Numbers in, a word out.

Why two never run: a host holds its lease by the word of a majority of its voters, hosts as it is, and counts from the
moment at which it *asked*. A controller that wants its guests has a majority refuse first, which they write down, and
counts from the moment at which the last of them has *answered*. Two majorities have a host in common: what it granted
it granted before it refused, so it was asked for before that answer. No message's delay is in this, and no clock is
compared with another: only the rates of two clocks count, that of the host and that of the controller.

Why it surely ends: the guard kills what is overdue, and feeds the machine's watchdog only while nothing is. A guard
that was stopped between its look and its feeding may feed once too late, so the watchdog counts twice. A host whose
lease was over is as one that lost power: nothing of its guests is left when it gets the next one, and it starts none
before all others were asked. So the rules of the handoff for a host without power hold for it (policy/handoff.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from segue.model.lease import Charter, Deeds, Terms, Watched
from segue.policy.leadership import EPOCHS_LEFT_OUT

RATE: Final = 0.001
"""A clock's error: the kernel slews by at most 500 ppm (adjtimex), a quartz is off by less than 200 ppm."""
KILL_S: Final = 2.0
"""A large guest needs so long to end once it is killed; its vCPUs stand at once. Longer, and the machine is reset."""
RESET_S: Final = 1.0
"""From the end of a watchdog's time to the reset, and until the machine stands."""
VOTERS_LEAST: Final = 3
"""Of two hosts each would stop its guests when the other dies."""
VOTERS_MOST: Final = 7
"""Each is asked several times a second by all whom it grants a lease: in a large fleet not everybody asks everybody."""
RENEWS: Final = 4
"""So many times within a lease it is asked for anew."""


def wait_s(terms: Terms) -> float:
    """By the controller's clock from the last answer of a majority that refuses: then no guest of the host runs.

    By the host's clocks a guest lives at most until the lease is over, while it is killed, and while a watchdog that
    was fed at the last moment, and once more by a guard that was stopped in between, runs down.
    """
    there_s = terms.lease_s + KILL_S + 2 * terms.watchdog_s + RESET_S
    return there_s * (1 + RATE) / (1 - RATE)


def longest_wait_s(charter: Charter) -> float:
    """For all terms that the host may go by."""
    return max(wait_s(terms) for _, terms in charter.every)


def is_majority(of: Iterable[str], among: Collection[str]) -> bool:
    """More than half of them."""
    return 2 * len(set(of) & set(among)) > len(set(among))


def chosen(host: str, fleet: Collection[str]) -> tuple[str, ...]:
    """Who grants it: itself and a few others, which stay the same as far as hosts come and go (rendezvous hashing)."""

    def weight(other: str) -> bytes:
        return hashlib.sha256(f"{host} {other}".encode()).digest()

    others = sorted(set(fleet) - {host}, key=weight)
    return tuple(sorted((host, *others[: VOTERS_MOST - 1])))


def are_refused(charter: Charter, refusing: Collection[str]) -> bool:
    """The host gets its lease from no set of voters any more; its own vote it always has."""
    others = set(refusing) - {charter.host}
    return charter.held and all(is_majority(others, voters) for voters, _ in charter.every)


def renew_every_s(terms: Terms) -> float:
    """A lease that is asked for so often survives lost words."""
    return terms.lease_s / RENEWS


# The guard. now_s, until_s: CLOCK_BOOTTIME of its host.


def renewed(watched: Watched, until_s: float, now_s: float) -> Watched:
    """With a longer lease, if it is not over yet."""
    seen = seen_at(watched, now_s)
    return seen if seen.over else replace(seen, deadline_s=max(seen.deadline_s, until_s))


def inherited(until_s: float, now_s: float) -> Watched:
    """What a guard goes by whose forerunner died: the lease that this one had, and not longer before it is renewed."""
    return seen_at(Watched(until_s, over=False), now_s)


def begun(watched: Watched, until_s: float, now_s: float, living: int) -> Watched:
    """A new lease after one that is over, or the first. living: of the old guests, of which nothing may be left."""
    if living or not seen_at(watched, now_s).over or until_s <= now_s:
        return seen_at(watched, now_s)
    return Watched(until_s, over=False)


def seen_at(watched: Watched, now_s: float) -> Watched:
    """A lease that has run out stays so."""
    return replace(watched, over=watched.over or now_s >= watched.deadline_s)


def deeds(watched: Watched, now_s: float, living: int) -> Deeds:
    """living: guests under the guard that are not gone yet. For a `watched` that was seen at `now_s`."""
    in_time = now_s < watched.deadline_s + KILL_S
    return Deeds(kill=watched.over and living > 0, feed=not watched.over or not living or in_time)


def adapted(known: Charter | None, host: str, voters: Collection[str], terms: Terms) -> Charter:
    """The charter that is to be written before the host is told; the same one where nothing is to change.

    Times only get longer: a lease that was granted by longer ones may last, and a guard has but one watchdog.
    """
    wanted = tuple(sorted(voters))
    if known is None:
        return Charter(host, 1, wanted, terms)
    terms = Terms(max(known.terms.lease_s, terms.lease_s), max(known.terms.watchdog_s, terms.watchdog_s))
    if (known.voters, known.terms) == (wanted, terms):
        return known
    return replace(known, number=known.number + 1, voters=wanted, terms=terms, before=known.every)


def acknowledged(charter: Charter, number: int, epoch: int, *, apps: bool) -> Charter:
    """After the host has said to the leader of that epoch that it goes by that number. apps: and that its applications
    are under its guard, which an older agent's are not."""
    if number != charter.number:
        return replace(charter, apps=charter.apps and apps)
    return replace(charter, held=True, before=(), epoch=epoch, apps=apps)


def counts(charter: Charter, epoch: int) -> bool:
    """Whether a leader may go by it. One from a backup may name voters by whom its host does not go any more."""
    return charter.held and charter.epoch <= epoch < charter.epoch + EPOCHS_LEFT_OUT
