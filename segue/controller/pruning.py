"""Entries go from the store, so many at once as it takes. It decides about none of them."""

from __future__ import annotations

from collections.abc import Sequence

from segue.controller.mirror import Mirror
from segue.engine.store import Store
from segue.model import store as nouns
from segue.model.store import CHANGES, Entry, Fence


async def drop(store: Store, mirror: Mirror, entries: Sequence[Entry], fence: Fence) -> int:
    """By the leader; how many went."""
    for begin in range(0, len(entries), CHANGES):
        part = entries[begin : begin + CHANGES]
        await mirror.reached(await store.commit(*map(nouns.delete, part), fence=fence))
    return len(entries)
