"""What a lab is meant to be, in one small file: machines, cuts and rates; never what runs at the moment."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from segue.errors import Kind, Refused
from segue.lab import nodes
from segue.lab.nodes import Node
from segue.lab.places import Places
from segue.lab.variants import Variants


@dataclass(frozen=True)
class Wanted:
    """The lab as it was asked for."""

    hosts: int = 0
    clients: int = 0
    controllers: int = 0
    etcd: int = 0
    cuts: tuple[str, ...] = ()
    rates_bits_per_s: dict[str, int] = field(default_factory=dict)
    # Switched off by `kill`; `up` starts them again, as someone who presses every power button.
    off: tuple[str, ...] = ()
    # Hosts that differ from the others: see variants.py.
    agents: dict[str, str] = field(default_factory=dict)
    qemus: dict[str, str] = field(default_factory=dict)
    bmc: bool = False
    lease_s: float = 0.0

    @property
    def everybody(self) -> list[Node]:
        fleet = [*nodes.etcd_members(self.etcd), *nodes.controllers(self.controllers)]
        return [*nodes.hosts(self.hosts), *nodes.clients(self.clients), *fleet]

    @property
    def variants(self) -> Variants:
        return Variants(self.agents, self.qemus)

    def node(self, name: str) -> Node:
        """The lab's machine of that name."""
        for node in (*self.everybody, nodes.FABRIC):
            if node.name == name:
                return node
        raise nodes.unknown(name, [node.name for node in self.everybody])


def load(places: Places) -> Wanted | None:
    """None if there is no such lab."""
    try:
        raw = json.loads(places.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return replace(Wanted(**raw), cuts=tuple(raw["cuts"]), off=tuple(raw["off"]))


def need(places: Places) -> Wanted:
    """The lab, which has to exist."""
    found = load(places)
    if found is None:
        raise Refused(
            what=f"there is no lab {places.name}",
            why=f"{places.top} does not exist",
            todo="Make one: `segue lab up`.",
            kind=Kind.NOT_FOUND,
        )
    return found


def save(places: Places, wanted: Wanted) -> None:
    half = places.state.with_name(".lab.json.half")
    half.write_text(json.dumps(asdict(wanted), indent=1) + "\n", encoding="utf-8")
    half.replace(places.state)


@contextmanager
def locked(places: Places, *, create: bool = False) -> Iterator[bool]:
    """One command at a time changes a lab; the lock is the folder itself, so that `down` leaves none behind.

    Gives False, without a lock, if the lab has no folder.
    """
    fd = _lock(places.top, create=create)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _lock(top: Path, *, create: bool) -> int | None:
    while True:
        try:
            if create:
                top.mkdir(parents=True, exist_ok=True)
            fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if create:
                continue
            return None
        fcntl.flock(fd, fcntl.LOCK_EX)
        # A `down` that we waited for has removed the folder: what we hold is the lock of nothing.
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)
