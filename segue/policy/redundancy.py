"""Finds what several hosts share and have lost the spare of: one of two feeds, one of two switches. Pure.

Each host says only that a supply or a link of its own is gone. That many of one domain say so at once means that it is
the domain's, and that the others of it may stand on one leg too, whether their sensors show it or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from segue.model.answer import Report, Warned
from segue.model.fleet import Fleet
from segue.model.health import Kind, Level

SHARED: Final[Mapping[Kind, str]] = {Kind.POWER: "power supply", Kind.NIC: "link"}
"""Parts that hang on something outside of their host."""
HOSTS_LEAST: Final = 2
SHARE_LEAST: Final = 0.5
"""Of a domain's hosts; fewer are faults of their own."""


def warnings(
    fleet: Fleet, reports: Iterable[Report], labels: Iterable[str], now_s: float, stale_s: float
) -> dict[str, str]:
    """Hosts that say nothing themselves, and what their domain has probably lost. reports: the newest of each host."""
    told = list(reports)
    lost = {kind: {one.host for one in told if _has_lost(one, kind, now_s, stale_s)} for kind in SHARED}
    found: dict[str, str] = {}
    if not any(lost.values()):
        return found
    for label in labels:
        for value, members in sorted(_members(fleet, label).items()):
            for kind, word in SHARED.items():
                hurt = lost[kind].intersection(members)
                if len(hurt) < max(HOSTS_LEAST, SHARE_LEAST * len(members)):
                    continue
                text = f"{label}={value}: {len(hurt)} of its {len(members)} hosts have lost a {word}"
                found |= {name: text for name in members if name not in hurt and name not in found}
    return found


def declared(fleet: Fleet, warned: Iterable[Warned]) -> dict[str, str]:
    """Hosts of domains of which a person has said that a part failed, and what was said."""
    found: dict[str, str] = {}
    for one in warned:
        text = f"{one.label}={one.value}: {one.reason} ({one.by})"
        for host in fleet.hosts:
            if host.domain(one.label) == one.value:
                found.setdefault(host.name, text)
    return found


def _members(fleet: Fleet, label: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host in fleet.hosts:
        if value := host.domain(label):
            found.setdefault(value, []).append(host.name)
    return found


def _has_lost(one: Report, kind: Kind, now_s: float, stale_s: float) -> bool:
    return one.kind is kind and one.level is not Level.HEALTHY and now_s - one.at_s <= stale_s
