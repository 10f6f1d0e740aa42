"""Hosts that are away, and how long a task waits for them: a broken network must not look like its end, nor a dead
host keep it for ever. It decides nothing about the hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from segue.controller import fleet
from segue.controller.mirror import Mirror
from segue.controller.work import Work

AWAY_S: Final = 60.0
"""So long a host that is away is waited for before a task ends without what it could take, give or tell."""


class Absence:
    """Who is away, as one task has seen it."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._since_s: dict[str, float] = {}

    def look(self) -> None:
        """Before anything is asked of it; again whenever the fleet may have changed."""
        here, now_s = fleet.linked(self._mirror), asyncio.get_running_loop().time()
        away = [h.name for h in self._mirror.hosts.values() if h.name not in here and not h.revoked]
        self._since_s = {name: self._since_s.get(name, now_s) for name in away}

    def may_pass(self) -> bool:
        """True while some host is away that may come back soon."""
        return len(self.gone()) < len(self._since_s)

    def gone(self) -> frozenset[str]:
        """Hosts that are not waited for any more."""
        now_s = asyncio.get_running_loop().time()
        return frozenset(name for name, since_s in self._since_s.items() if now_s - since_s >= AWAY_S)


def unheard(work: Work, gone: Collection[str], hosts: Collection[str] = ()) -> dict[str, str]:
    """Guests whose moves were begun and whose sources are gone, and what is to be said of that: how such a move ends
    nobody can tell before its source is back, or somebody has vouched that it is dead. Of this task; with `hosts`,
    also those that others want from there or to there."""
    if not gone:
        return {}
    mirror = work.controller.mirror
    owners = fleet.owners(mirror)
    found = {
        m.guest: words(mirror, m.source, m.target)
        for m in fleet.under_way(mirror).values()
        if m.source in gone and {m.source, m.target} & set(hosts)
    }
    for trial in work.task.trials:
        record = mirror.migrations.get(trial.migration) if trial.migration else None
        owner = owners.get(trial.guest)
        source = record.value.source if record else owner.host if owner else ""
        if trial.target and source in gone and not (record and record.value.ended):
            found[trial.guest] = words(mirror, source, trial.target)
    return found


def words(mirror: Mirror, source: str, target: str) -> str:
    """What is known of a move that nobody tells of any more."""
    death = mirror.deaths.get(source)
    why = f" ({death.value.why})" if death and death.value.why else ""
    return f"its move to {target} was begun, and {source} is not heard of any more{why}"
