"""The id of this fleet, in its store: made by the first leader, and what else it was put in the place of.

Two stores under one CA are two fleets. Which of them a host obeys must never be a matter of which one it reached first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import structlog

from segue.adapters import chance, clock
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.model.leadership import Tenure
from segue.model.membership import Identity, Strangers
from segue.policy import membership

log = structlog.get_logger()
SUCCEEDS_MOST: Final = 100
NAMED: Final = 3
"""So many hosts are named in a warning."""


async def settle(controller: Controller, tenure: Tenure) -> None:
    """At the beginning of a tenure, before any host is heard: from here on the store has an id.

    A store that was emptied under this controller gets back the one that it had.
    """
    mirror = controller.mirror
    if mirror.identity.get("") is not None:
        return
    made = mirror.last_identity or Identity(chance.new_id(), clock.wall_s())
    await controller.books.add(mirror.identity, "", made, fence=tenure.fence)
    log.info("the fleet has an id", fleet=made.id, known_before=mirror.last_identity is not None)


def seen(controller: Controller) -> Strangers:
    """Raises Refused where no controller has led yet."""
    own = _own(controller.mirror)
    return Strangers(own.id, own.succeeds, controller.links.strangers.now())


async def succeed(controller: Controller, fleet: str) -> Identity:
    """Puts this fleet in the place of another one, whose hosts are welcome from now on. Raises Refused."""
    own = _own(controller.mirror)
    if not membership.lawful(fleet) or fleet == own.id:
        raise Refused(
            what="no fleet was taken over",
            why="it is this one" if fleet == own.id else f"'{fleet[:40]}' is no id of a fleet",
            todo="`segue status` names the fleets of hosts that came here.",
            kind=Kind.USAGE,
        )

    def with_it(kept: Identity) -> Identity:
        others = (*(one for one in kept.succeeds if one != fleet), fleet)
        return replace(kept, succeeds=others[-SUCCEEDS_MOST:])

    return await controller.books.change(controller.mirror.identity, "", with_it)


def warnings(controller: Controller) -> Iterator[str]:
    """Hosts that were refused, by their fleet."""
    found: dict[str, list[str]] = defaultdict(list)
    for host, fleet in controller.links.strangers.now().items():
        found[fleet].append(host)
    for fleet, hosts in found.items():
        short = membership.short(fleet)
        more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
        yield (
            f"refused, as they belong to fleet {short}: {', '.join(hosts[:NAMED])}{more}. If its store is lost and "
            f"this one takes its place: `segue controller adopt {short}`"
        )


def _own(mirror: Mirror) -> Identity:
    kept = mirror.identity.get("")
    if kept is None:
        raise Refused(
            what="the fleet has no id yet",
            why="no controller has led from this store",
            todo="Ask again when one leads: `segue status`.",
            kind=Kind.UNREACHABLE,
        )
    return kept.value
