"""Shapes of requests and answers that concern applications alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from segue.model.application import Restart
from segue.wire.frames import NicWish


@dataclass(frozen=True)
class VolumeWish:
    """A folder beside the root file system; without `source` the application's own, which moves with it."""

    path: str
    source: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class RunApp:
    """Body of POST /v1/apps. `image`: a digest or a name; one that the host lacks is pulled from its registry.

    What is empty is as the image says. `user`: a name or number, with `:group` or without.
    """

    name: str
    image: str
    memory_bytes: int = 256 << 20
    cpus: float = 0.0
    address: str = ""
    nics: tuple[NicWish, ...] = ()
    gateway: str = ""
    args: tuple[str, ...] = ()
    """Given to the image's entry point, in place of its own."""
    env: tuple[str, ...] = ()
    user: str = ""
    read_only: bool = False
    """Its root file system."""
    volumes: tuple[VolumeWish, ...] = ()
    restart: Restart = Restart.NO
    start: bool = True


@dataclass(frozen=True)
class NewApp(RunApp):
    """Body of a controller's POST /v1/apps: as for an agent, and its labels."""

    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AppImage:
    """One image of a host's store."""

    digest: str
    references: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Exec:
    """Body of POST /v1/guests/{name}/exec: one more program in the application's container."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    cwd: str = ""
    input: str = ""
    within_s: float = 60.0


@dataclass(frozen=True)
class Executed:
    """How it ended; each output is cut off at its beginning where it is longer than a mebibyte."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Size:
    """Of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True)
class Terminal(Exec):
    """First message on /v1/guests/{name}/exec/live: the same, at a terminal; `input` and `within_s` mean nothing."""

    size: Size = field(default_factory=Size)


@dataclass(frozen=True)
class TerminalEnd:
    """Its last one: how the program ended (negative: by that signal), or why it did not begin."""

    status: int
    what: str = ""
    why: str = ""
    todo: str = ""
