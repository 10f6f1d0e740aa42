"""The matrix: which guest is moved under which load over which link. Names and choices only; nothing runs here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

MEMORIES: Final = {"256m": 256 << 20, "1g": 1 << 30, "4g": 4 << 30}
LOADS: Final = (0, 25, 50, 90, 150)
"""Bytes that the guest writes in a second, in hundredths of what the link carries."""
LINKS: Final[dict[str, int | None]] = {"": None, "1gbit": 10**9}
"""Bits per second; the empty name is the link without a limit, which is as fast as this machine."""
RESIDENT: Final = 4
"""One part in this many of the guest's memory is in use, and is what it writes again and again."""
DISK_BYTES: Final = 512 << 20
DISK_HELD_BYTES: Final = 128 << 20
"""Written before the first move; the rest of the disk was never written."""
DISK_LOAD: Final = "segue.disk=/dev/vda:2M/128M"
"""What the guest writes to its disk all the while: 2 MB/s within the part that holds something."""
WITH_DISK: Final = (("256m", 0, ""), ("256m", 50, "1gbit"))
"""memory, load and link that are measured with a disk of the host's own, too."""


@dataclass(frozen=True)
class Cell:
    """One configuration that all peers are compared in."""

    memory: str
    dirty_percent: int = 0
    link: str = ""
    disk: bool = False
    """The guest has a disk that only its host has."""

    @property
    def name(self) -> str:
        """As `--cells` takes it: `idle-256m`, `dirty50-1g-1gbit`, `idle-256m-disk`."""
        load = f"dirty{self.dirty_percent}" if self.dirty_percent else "idle"
        return "-".join(filter(None, (load, self.memory, self.link, "disk" if self.disk else "")))

    @property
    def guest(self) -> tuple[str, bool]:
        """Cells where this is equal are measured with the same guests."""
        return self.memory, self.disk

    @property
    def memory_bytes(self) -> int:
        """The guest's memory."""
        return MEMORIES[self.memory]

    @property
    def resident_bytes(self) -> int:
        """The part of it that is in use."""
        return self.memory_bytes // RESIDENT

    @property
    def link_bits_per_s(self) -> int | None:
        """None without a limit."""
        return LINKS[self.link]


MATRIX: Final = (
    *(Cell(memory, load, link) for memory in MEMORIES for link in LINKS for load in LOADS),
    *(Cell(*each, disk=True) for each in WITH_DISK),
)
BY_NAME: Final = {cell.name: cell for cell in MATRIX}
SETS: Final[dict[str, tuple[str, ...]]] = {
    "quick": ("idle-256m", "dirty50-256m-1gbit"),
    "core": (
        "idle-256m",
        "dirty50-256m",
        "idle-1g",
        "idle-256m-1gbit",
        "dirty50-256m-1gbit",
        "dirty150-256m-1gbit",
        "idle-256m-disk",
        "dirty50-256m-1gbit-disk",
    ),
    "all": tuple(BY_NAME),
}


def choose(text: str) -> list[Cell]:
    """The cells of a set, of names and of patterns (`idle-*`), by comma, in the order of the matrix."""
    words = [word for part in text.split(",") for word in SETS.get(part.strip(), (part.strip(),))]
    chosen = [cell for cell in MATRIX if any(fnmatchcase(cell.name, word) for word in words)]
    unknown = [word for word in words if not any(fnmatchcase(name, word) for name in BY_NAME)]
    if unknown:
        raise ValueError(f"no cell is called {', '.join(unknown)}; `--list` shows them")
    return chosen


def turns(peers: Sequence[str], runs: int, done: dict[str, int]) -> Iterable[tuple[int, str]]:
    """(run, peer) in the order of measuring: every peer once in each run, and each run begins with another
    peer, so that no peer always has the same one before it. `done`: runs that an earlier session made."""
    for run in range(runs):
        first = run % len(peers)
        for peer in (*peers[first:], *peers[:first]):
            if run >= done.get(peer, 0):
                yield run, peer
