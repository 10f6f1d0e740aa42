"""Where a lab keeps its files: everything under one folder per lab, and one cache that outlives all labs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused

DEFAULT_NAME: Final = "lab"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def labs() -> Path:
    """The folder that holds one folder per lab, by its one real name: processes of a lab are known by that."""
    return Path(os.environ.get("SEGUE_LAB_DIR", "/var/lib/segue-lab")).resolve()


def cache() -> Path:
    """Images and layers: slow to make, the same for every lab, never removed by `down`."""
    return Path(os.environ.get("SEGUE_LAB_CACHE", "/var/cache/segue-lab")).absolute()


@dataclass(frozen=True)
class Places:
    """The files of one lab."""

    name: str
    top: Path

    @property
    def state(self) -> Path:
        return self.top / "lab.json"

    @property
    def shared(self) -> Path:
        return self.top / "shared"

    @property
    def pki(self) -> Path:
        return self.top / "pki"

    @property
    def bmc(self) -> Path:
        return self.top / "bmc"

    @property
    def bmc_password(self) -> Path:
        return self.bmc / "password"

    @property
    def lease(self) -> Path:
        """Seconds; there where the hosts' guests run by a lease."""
        return self.top / "lease"

    @property
    def context(self) -> Path:
        return self.top / "context.toml"

    def node(self, kind: str, name: str) -> Path:
        """Hosts and clients lie in folders of their own; there is only one fabric."""
        return self.top / name if kind == "fabric" else self.top / f"{kind}s" / name


def of(name: str) -> Places:
    """The places of the lab of that name, which need not exist yet."""
    if not NAME.fullmatch(name):
        raise Refused(
            what=f"cannot use {name!r} as the name of a lab",
            why="it becomes a folder and part of a certificate",
            todo="Take small letters, digits and hyphens, at most 31.",
            kind=Kind.USAGE,
        )
    return Places(name=name, top=labs() / name)
