"""What people decide for planners: labels, taints, overcommit, wishes of guests, rules, domains. It moves nothing.

Maps are merged, so that two people who change different labels do not undo each other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from segue.controller import fleet
from segue.controller.app import Controller
from segue.errors import Kind, Refused
from segue.model.fleet import Domain, Fleet, Rule, Spread, Taint, Uplink
from segue.model.plan import Fault, Weight
from segue.model.roster import DomainRecord, GuestWishes, HostRecord
from segue.model.store import Conflict
from segue.policy import soundness

T = TypeVar("T")
WORD: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A label, its value, a taint, the name of a rule: keys of the store and arguments of commands."""
OVERCOMMIT_MOST: Final = 64.0
IMPORTANCE_MOST: Final = 1000


@dataclass(frozen=True)
class ChangeGuest:
    """Body of PATCH /v1/guests/{name}/wishes; what is left out stays, what is null in a map goes."""

    labels: dict[str, str | None] = field(default_factory=dict)
    wants: dict[str, list[str] | None] = field(default_factory=dict)
    prefers: dict[str, list[str] | None] = field(default_factory=dict)
    tolerates: dict[str, bool | None] = field(default_factory=dict)
    importance: int | None = None
    pinned: str | None = None
    """Why no planner may move it; empty: they may."""


def merged(known: Mapping[str, T], changes: Mapping[str, T | None]) -> dict[str, T]:
    """With the changes; null takes away. Raises Refused for a word that can be none."""
    demand_words(*changes)
    made = {**known, **changes}
    return {label: value for label, value in made.items() if value is not None}


def changed_host(known: HostRecord, fields: Mapping[str, Any]) -> HostRecord:
    """fields: those of ChangeHost that were given. Raises Refused."""
    made = dict(fields)
    if "labels" in made:
        made["labels"] = merged(known.labels, made["labels"])
        demand_words(*made["labels"].values())
    if "taints" in made:
        hard = merged({taint.name: taint.hard for taint in known.taints}, made["taints"])
        made["taints"] = tuple(Taint(name, is_hard) for name, is_hard in sorted(hard.items()))
    for key in ("memory_overcommit", "cpu_overcommit"):
        if not 0 < made.get(key, 1.0) <= OVERCOMMIT_MOST:
            raise _odd(f"{key} {made[key]:g} is not between 0 and {OVERCOMMIT_MOST:g}")
    if made.get("link_bytes_per_s", 0) < 0:
        raise _odd("a link is not slower than nothing")
    return replace(known, **made)


async def change_guest(
    controller: Controller, name: str, wish: ChangeGuest, revision: int = 0
) -> GuestWishes:
    """The first wish of a guest makes its record. revision: the one that the caller has seen. Raises Refused."""
    table = controller.mirror.wishes
    demand_words(name)
    changed_guest(GuestWishes(name), wish)  # What is refused leaves no empty record.
    if table.get(name) is None:
        if revision:
            raise Conflict(table.key(name), None)
        await controller.books.add(table, name, GuestWishes(name))
    return await controller.books.change(
        table, name, lambda known: changed_guest(known, wish), revision=revision
    )


def changed_guest(known: GuestWishes, wish: ChangeGuest) -> GuestWishes:
    """Raises Refused."""
    labels = merged(known.labels, wish.labels)
    demand_words(*labels.values())
    wants = merged({key: list(values) for key, values in known.wants.items()}, wish.wants)
    prefers = merged({key: list(values) for key, values in known.prefers.items()}, wish.prefers)
    demand_words(*(value for values in (*wants.values(), *prefers.values()) for value in values))
    tolerated = merged(dict.fromkeys(known.tolerates, True), wish.tolerates)
    importance = known.importance if wish.importance is None else wish.importance
    if abs(importance) > IMPORTANCE_MOST:
        raise _odd(f"importance {importance} is not between -{IMPORTANCE_MOST} and {IMPORTANCE_MOST}")
    return replace(
        known,
        labels=labels,
        wants={key: tuple(values) for key, values in wants.items() if values},
        prefers={key: tuple(values) for key, values in prefers.items() if values},
        tolerates=tuple(sorted(name for name, is_tolerated in tolerated.items() if is_tolerated)),
        importance=importance,
        pinned=known.pinned if wish.pinned is None else wish.pinned[:200],
    )


async def add_rule(controller: Controller, rule: Rule) -> tuple[str, ...]:
    """Keeps it; the warnings. Raises Refused where it contradicts another, Conflict where the name is taken."""
    demand_words(rule.name, rule.domain, *rule.members, *rule.members.values())
    if not rule.members:
        raise _odd("a rule without labels would be for every guest")
    if rule.at_most < 1 or (rule.spread is Spread.TOGETHER and rule.at_most != 1):
        raise _odd("at_most is at least 1, and only for guests that are to be apart")
    if not 0 < rule.weight <= 100:
        raise _odd("the weight of a soft rule is more than 0, and at most 100")
    seen = await fleet.looked(controller.mirror, controller.loads)
    others = tuple(known for known in seen.rules if known.name != rule.name)
    found = await _new_faults(seen, replace(seen, rules=(*others, rule)))
    await controller.books.add(controller.mirror.rules, rule.name, rule)
    return found


async def set_domain(controller: Controller, record: DomainRecord) -> tuple[str, ...]:
    """Keeps it instead of what was known of it; the warnings. Raises Refused for one that is within itself."""
    demand_words(record.label, record.value, *record.within, *record.within.values())
    if record.uplink_bytes_per_s < 0:
        raise _odd("an uplink is not slower than nothing")
    seen, own = await fleet.looked(controller.mirror, controller.loads), (record.label, record.value)
    without = replace(
        seen,
        domains=tuple(d for d in seen.domains if (d.label, d.value) != own),
        uplinks=tuple(u for u in seen.uplinks if (u.label, u.value) != own),
    )
    uplinks = [Uplink(*own, record.uplink_bytes_per_s)] if record.uplink_bytes_per_s else []
    domains = (*without.domains, Domain(*own, record.within))
    found = await _new_faults(
        without, replace(without, domains=domains, uplinks=(*without.uplinks, *uplinks))
    )
    name, table = domain_name(*own), controller.mirror.domains
    if table.get(name) is None:
        await controller.books.add(table, name, record)
    else:
        await controller.books.change(table, name, lambda _: record)
    return found


def domain_name(label: str, value: str) -> str:
    """Its key in the store."""
    return f"{label}={value}"


def demand_words(*words: str) -> None:
    """Raises Refused for what can be no label, value or name."""
    for word in words:
        if not WORD.fullmatch(word):
            raise _odd(
                f"'{word[:80]}' is not made of letters, digits, dots, hyphens and underscores, at most 63"
            )


async def _new_faults(before: Fleet, after: Fleet) -> tuple[str, ...]:
    """Warnings that were not there before. Raises Refused for an error that was not."""
    known, found = await asyncio.gather(
        asyncio.to_thread(soundness.faults, before), asyncio.to_thread(soundness.faults, after)
    )
    fresh = [fault for fault in found if fault not in known]
    if errors := [fault for fault in fresh if fault.weight is Weight.ERROR]:
        raise Refused(what=errors[0].what, why=errors[0].why, todo=errors[0].todo, kind=Kind.POLICY)
    return tuple(_said(fault) for fault in fresh)


def _said(fault: Fault) -> str:
    return f"{fault.what}: {fault.why}. {fault.todo}"


def _odd(why: str) -> Refused:
    return Refused(what="the request was not understood", why=why, todo="Mend it.", kind=Kind.USAGE)
