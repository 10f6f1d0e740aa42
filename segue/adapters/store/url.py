"""A store's URL: what it names, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from segue.adapters.store.etcd import place as etcd_place
from segue.adapters.store.etcd.place import EtcdPlace
from segue.adapters.store.etcd.store import EtcdStore
from segue.adapters.store.sqlite.store import SqliteStore
from segue.errors import Kind, Refused


@dataclass(frozen=True)
class SqlitePlace:
    """A file of this host."""

    path: Path


Place = SqlitePlace | EtcdPlace


def parse(url: str) -> Place:
    """`sqlite:///FILE`, or `etcd://...`: see etcd/place.py. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme in etcd_place.SCHEMES:
        return etcd_place.parse(url)
    path = Path(parts.path)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path.is_absolute():
        raise Refused(
            what=f"cannot use {url!r} as a store",
            why="it is neither sqlite:///FILE nor etcd://HOST,HOST,HOST",
            todo="Write it as docs/reference/store.md shows; a file's path begins with the third slash.",
            kind=Kind.USAGE,
        )
    return SqlitePlace(path)


def demand_exists(place: Place) -> None:
    """For a store that is only read: a wrong name must not make an empty one. Raises Refused."""
    if isinstance(place, SqlitePlace) and not place.path.is_file():
        raise Refused(
            what=f"there is no store {place.path}",
            why="the file is not there",
            todo="Look at the URL.",
            kind=Kind.NOT_FOUND,
        )


def same(one: Place, other: Place) -> bool:
    """True if both surely name the same store."""
    if isinstance(one, SqlitePlace) and isinstance(other, SqlitePlace):
        return one.path.resolve() == other.path.resolve()
    if isinstance(one, EtcdPlace) and isinstance(other, EtcdPlace):
        return one.prefix == other.prefix and bool({*one.endpoints} & {*other.endpoints})
    return False


def open_store(place: Place) -> SqliteStore | EtcdStore:
    """To be called inside the event loop that uses it. Raises Refused."""
    return SqliteStore(place.path) if isinstance(place, SqlitePlace) else EtcdStore(place)
