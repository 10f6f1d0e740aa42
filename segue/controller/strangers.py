"""Hosts that come to this controller and belong to another fleet: nothing that they say is taken; people are told."""

from __future__ import annotations

from typing import Final

import structlog

from segue.adapters import clock
from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.policy import membership

log = structlog.get_logger()
FRESH_S: Final = 60.0
"""An agent tries every controller again within seconds; one that has not come for so long has found its own."""


class Stranger(Refused):
    """The host belongs to another fleet: nothing that it says counts here."""


class Strangers:
    """Those that came lately, also to a controller that does not lead."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._met: dict[str, tuple[str, float]] = {}

    def demand_ours(self, host: str, belongs: str) -> None:
        """Before anything that it says counts. Raises Refused."""
        own = self._mirror.identity.get("")
        if own is None or membership.heeds(belongs, own.value.id, own.value.succeeds):
            self._met.pop(host, None)
            return
        if not membership.lawful(belongs):
            raise Refused(
                what=f"{host} is refused",
                why="the fleet that it names cannot be one",
                todo=f"Look at the agent of {host}.",
                kind=Kind.USAGE,
            )
        if self.now().get(host) != belongs:
            log.error("a host of another fleet is refused", host=host, fleet=belongs, ours=own.value.id)
        self._met[host] = belongs, clock.steady_s()
        raise Stranger(
            what=f"{host} is refused",
            why=membership.why_not(belongs, own.value.id),
            todo="`segue status` says what to do.",
            kind=Kind.CONFLICT,
        )

    def were(self, belongs: str) -> bool:
        """True for a host whose own fleet this one has taken the place of: what it obeyed were others' epochs, and even
        an equal one is not ours."""
        own = self._mirror.identity.get("")
        return own is not None and belongs in own.value.succeeds

    def now(self) -> dict[str, str]:
        """Host -> the id of its fleet."""
        own, since_s = self._mirror.identity.get(""), clock.steady_s() - FRESH_S
        succeeds = own.value.succeeds if own else ()
        return {
            host: belongs
            for host, (belongs, at_s) in sorted(self._met.items())
            if at_s > since_s and belongs not in succeeds
        }
