"""How a test gets clients of one store, whatever store it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from segue.adapters.metrics import Meter
from segue.adapters.store.etcd.store import EtcdStore
from segue.adapters.store.sqlite.store import SqliteStore
from segue.controller.metered import MeteredStore
from segue.engine.store import Store
from segue.model.metrics import CONTROLLER
from segue.model.store import Entry, Page
from segue.sim.store import MemoryStore, Shelf
from tests.contracts.cluster import Cluster


class Rig(Protocol):
    """One store, empty at first."""

    opened: list[Store]

    def open(self) -> Store:
        """Another client of it."""
        ...

    async def compact(self, revision: int) -> None:
        """Has it forget what happened up to there."""
        ...


class SqliteRig:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[Store] = []

    def open(self) -> Store:
        made = SqliteStore(self.path)
        self.opened.append(made)
        return made

    async def compact(self, revision: int) -> None:
        store = SqliteStore(self.path)
        await store.compact(revision)
        await store.close()


class MemoryRig:
    """One shelf, as rehearsals use it."""

    def __init__(self) -> None:
        self.shelf = Shelf(asyncio.get_running_loop())
        self.opened: list[Store] = []

    def open(self) -> Store:
        made = MemoryStore(self.shelf)
        self.opened.append(made)
        return made

    async def compact(self, revision: int) -> None:
        self.shelf.compact(revision)


class MeteredRig(SqliteRig):
    """One file, measured while it is used, as a controller uses it."""

    def open(self) -> Store:
        made: Store = MeteredStore(super().open(), Meter(CONTROLLER), "sqlite")
        return made


class EtcdRig:
    """One prefix in the cluster."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.cluster = cluster
        self.prefix = prefix
        self.opened: list[Store] = []

    def open(self, members: tuple[int, ...] = (1, 2, 3), limit_s: float = 10.0) -> EtcdStore:
        """The cluster elects faster than most, so its clients may be less patient."""
        made = EtcdStore(self.cluster.place(self.prefix, members), limit_s, attempt_s=0.6)
        self.opened.append(made)
        return made

    async def compact(self, revision: int) -> None:
        await asyncio.to_thread(self.cluster.compact, revision)


async def head(store: Store) -> int:
    """The store's revision now."""
    return (await pages(store, ""))[0].revision


async def pages(store: Store, prefix: str) -> list[Page]:
    return [page async for page in store.list(prefix)]


async def everything(store: Store, prefix: str = "") -> dict[str, Entry]:
    return {entry.key: entry for page in await pages(store, prefix) for entry in page.entries}
