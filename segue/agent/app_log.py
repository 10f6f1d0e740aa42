"""What an application wrote, and goes on to write, on this host, as its warden keeps it. It only reads."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from segue.adapters.oci import container

LINES_MAX: Final = 100_000
READ_BYTES: Final = 1 << 16
LOOK_S: Final = 0.2
"""Between two looks at a log that is followed; whoever follows it is a person."""


def text(folder: Path, lines: int, since: str = "") -> str:
    """The last lines, oldest first, each with its time and stream. since: none that were written before (`stamp`)."""
    return "".join(f"{line}\n" for line in _last(_files(folder), lines) if line >= since)


def stamp(at_s: float) -> str:
    """A point in time as lines begin with it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f"{at_s % 1:.6f}"[1:]


async def follow(folder: Path, lines: int, since: str = "") -> AsyncIterator[bytes]:
    """The last lines, and all that come, across rotations; ends when the application's files are deleted."""
    current = folder / "current"
    while not current.exists():
        if not folder.parent.exists():
            return
        await asyncio.sleep(LOOK_S)
    file = current.open("rb")
    try:
        here = file.read().decode(errors="replace").splitlines()
        older = _last((path for path in _files(folder) if path != current), lines - len(here))
        yield "".join(f"{line}\n" for line in [*older, *here][-lines:] if line >= since).encode()
        while folder.exists():
            if part := file.read(READ_BYTES):
                yield part
            elif _is_another(file, current):
                if not (part := file.read(READ_BYTES)):  # Nothing more comes to the one that was rotated.
                    file.close()
                    file = current.open("rb")
                yield part
            else:
                await asyncio.sleep(LOOK_S)
    except FileNotFoundError:
        return  # It was deleted while we looked.
    finally:
        file.close()


def _is_another(file: BinaryIO, path: Path) -> bool:
    """A moment without a file is a rotation under way."""
    return path.exists() and not os.path.samestat(os.fstat(file.fileno()), path.stat())


def _last(files: Iterator[Path], lines: int) -> list[str]:
    """files: newest first."""
    found: list[str] = []
    for path in files:
        if len(found) >= lines:
            break
        more = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = more[-(lines - len(found)) :] + found
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Newest first."""
    for name in ("current", *(str(number) for number in range(1, container.LOG_FILES))):
        if (folder / name).is_file():
            yield folder / name
