"""What an application is: the part of a guest that is no machine but processes in an OCI container. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Restart(StrEnum):
    """What is done when an application ends by itself."""

    NO = "no"
    ON_FAILURE = "on-failure"
    """Only where it ended with another status than 0, or by a signal."""
    ALWAYS = "always"


@dataclass(frozen=True)
class Volume:
    """A folder that the application finds at `path`, beside its root file system.

    `source` is a folder of the host's, the same on every host that sees the storage it lies on; empty: a folder
    of the application's own, which moves with it.
    """

    id: str
    path: str
    source: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Application:
    """All that the container's runtime has to be told; equal on source and target, or the restore does not fit."""

    image: str
    """Digest of its configuration, as sha256:...: the same content on every host that has it."""
    reference: str
    """What people call the image."""
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    cpus: float = 0.0
    """Processor time that it may use, in processors; 0: as much as the host has."""
    processes_max: int = 4096
    gateway: str = ""
    """Where its packets go that are for no network of its own."""
    stop_signal: str = "SIGTERM"
    restart: Restart = Restart.NO
    read_only: bool = False
    """Its root file system; what it writes has to go into volumes, or memory of its own."""
    volumes: tuple[Volume, ...] = ()
    keeps: tuple[str, ...] = ()
    """Folders that its image declares as volumes, and that are in none: what it keeps there is on its host alone."""
