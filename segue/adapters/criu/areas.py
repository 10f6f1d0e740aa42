"""The parts of a process's memory, as CRIU writes them down (mm-PID.img); it looks at no process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from segue.adapters.criu import images, pagemap
from segue.adapters.criu.pagemap import PAGE_BYTES, PREFIX

NAMES: Final = "mm-"
WIPED: Final = 1 << 18
"""mman.h: MADV_WIPEONFORK, as a bit of `madv`."""
Space: Final = images.entry_type(
    {
        "Area": {
            "start": (1, images.NUMBER),
            "end": (2, images.NUMBER),
            "flags": (6, images.NUMBER),
            "status": (7, images.NUMBER),
            "madv": (9, images.NUMBER),
        },
        "Space": {"areas": (14, "Area*")},
    }
)
"""criu/images/mm.proto, vma.proto"""


def by_process(folder: Path) -> dict[str, Sequence[Any]]:
    """A process's number in its own name space -> its areas, in order. Raises OSError, ValueError."""
    return {path.stem.removeprefix(NAMES): _read(path) for path in folder.glob(f"{NAMES}*.img")}


def left_out(folder: Path) -> Iterator[tuple[int, int]]:
    """(address, bytes) of what has memory and is not dumped: what the kernel may drop at any time, the state of random
    numbers in the vDSO above all (MAP_DROPPABLE, Linux 6.11). It begins anew. Raises OSError, ValueError."""
    for pid, areas in by_process(folder).items():
        path = folder / f"{PREFIX}{pid}.img"
        dumped = list(pagemap.parsed(path.read_bytes(), path.name).places()) if path.exists() else []
        for area in areas:
            first, end = area.start // PAGE_BYTES, area.end // PAGE_BYTES
            if area.madv & WIPED and not any(at < end and at + count > first for at, count in dumped):
                yield area.start, area.end - area.start


def _read(path: Path) -> Sequence[Any]:
    (entry,) = images.entries(path.read_bytes(), path.name)
    return tuple(images.decoded(Space, entry, path.name).areas)
