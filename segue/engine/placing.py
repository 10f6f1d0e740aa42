"""What source and target tell each other about one migration's copy."""

from __future__ import annotations

from segue.engine.run import Run
from segue.errors import Aborted
from segue.model.landing import Landing, Placement
from segue.model.migration import Migration


async def placement(run: Run) -> Placement:
    """What the target has to know; from here on the guest is offered to it."""
    migration = run.record.now
    return Placement(
        guest=run.guest,
        epoch=await run.custody.begin(migration.target, migration.id),
        migration=migration.id,
        source=migration.source,
        tunnel_id=tunnel_id(migration.id),
        wire=migration.wire,
        secret=await run.here.secret(migration.id),
        shape=migration.shape,
        copies=migration.copies,
        origin=_origin(migration),
        cold=migration.cold,
        traceparent=migration.trace.header,
        regions=await run.here.regions(),
        without_description=True,
    )


def _origin(migration: Migration) -> str:
    lent = migration.copies and migration.limits.storage_postcopy and migration.landing
    return migration.landing.storage_address if lent and migration.landing else ""


def tunnel_id(migration: str) -> int:
    """A VXLAN network identifier (24 bits) of this migration's own; the id is a random UUID."""
    return int(migration.replace("-", "")[-6:], 16) or 1


def landing(run: Run) -> Landing:
    """What the target answered. Raises Aborted where the record has lost it."""
    found = run.record.now.landing
    if found is None:
        raise Aborted(
            what="the migration lost its landing place",
            why="the record has no address of the target's copy",
            todo="Start the migration again.",
        )
    return found
