"""Fetches every host's incidents into the store, where they outlive the host. It decides nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from segue.controller import health
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.incident import Evidence, Incident, Told
from segue.model.leadership import Tenure
from segue.model.store import CHANGES

log = structlog.get_logger()
ASK_S: Final = 5.0
WITHIN_S: Final = 5.0
AT_ONCE: Final = 20
KEEP: Final = 500
"""Ended ones beyond this number go from the store, oldest first; a host keeps its own for longer."""
EVIDENCE_CHARS: Final = 4000
"""Of each piece, its end: the store is no archive of logs."""


class Fetcher:
    """For one tenure: how far the incidents of each host are known."""

    def __init__(self, controller: Controller, tenure: Tenure) -> None:
        self._controller = controller
        self._tenure = tenure
        self._seen: dict[tuple[str, str], int] = {}

    async def keep(self) -> None:
        """For as long as the tenure lasts."""
        while True:
            try:
                linked = sorted(self._controller.links.linked())
                await health.side_by_side(self._fetch(host) for host in linked)
                await self._prune()
            except SegueError as error:
                log.warning("incidents are fetched later", why=str(error))
            await asyncio.sleep(ASK_S)

    async def _fetch(self, host: str) -> None:
        """All that is new there. An agent that does not answer, or is too old for the question, is asked again."""
        key = host, _instance(self._controller.mirror, host)
        while True:
            after = self._seen.get(key, 0)
            path = f"/v1/incidents/after/{after}?limit={AT_ONCE}"
            try:
                told = await self._controller.links.call(host, "GET", path, within_s=WITHIN_S)
                found = msgspec.convert(told, list[Told])
            except (SegueError, msgspec.ValidationError) as error:
                log.debug("a host does not tell its incidents", host=host, why=str(error))
                return
            for one in found:
                await self._take(replace(one.incident, host=host))
                self._seen[key] = one.number
            if len(found) < AT_ONCE:
                return

    async def _take(self, incident: Incident) -> None:
        controller, table = self._controller, self._controller.mirror.incidents
        known = table.get(incident.id)
        if known is not None and known.value.host != incident.host:
            return  # A host speaks for itself alone.
        value = msgspec.json.encode(replace(incident, evidence=tuple(map(_short, incident.evidence))))
        if known is not None and known.entry.value == value:
            return
        change = (
            nouns.create(table.key(incident.id), value)
            if known is None
            else nouns.replace(known.entry, value)
        )
        await controller.mirror.reached(await controller.store.commit(change, fence=self._tenure.fence))
        if known is None:
            log.warning("an incident", host=incident.host, cause=incident.cause, text=incident.text)

    async def _prune(self) -> None:
        controller = self._controller
        ended = [kept for kept in controller.mirror.incidents.items().values() if not kept.value.is_open]
        ended.sort(key=lambda kept: kept.value.at_s)
        going = [kept.entry for kept in ended[: max(0, len(ended) - KEEP)]][:CHANGES]
        if going:
            revision = await controller.store.commit(*map(nouns.delete, going), fence=self._tenure.fence)
            await controller.mirror.reached(revision)


def _instance(mirror: Mirror, host: str) -> str:
    """An agent that was installed anew counts its changes anew."""
    report = mirror.reports.get(host)
    return report.value.facts.instance if report is not None else ""


def _short(evidence: Evidence) -> Evidence:
    text = evidence.text
    return (
        evidence if len(text) <= EVIDENCE_CHARS else replace(evidence, text=f"[...]{text[-EVIDENCE_CHARS:]}")
    )
