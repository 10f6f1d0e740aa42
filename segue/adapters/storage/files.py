"""What a host sees of a file: whether two hosts see the same folder, what is in it, how much room there is."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from segue.errors import Refused
from segue.model.storage import Sight

PREFIX = ".segue-mark-"
CHUNK_BYTES = 1 << 20
ZEROS = bytes(CHUNK_BYTES)


@contextmanager
def marks(paths: list[str]) -> Iterator[str]:
    """A fresh marker in the folder of each path, gone afterwards; its name. A new name is in nobody's cache."""
    name = PREFIX + secrets.token_hex(12)
    laid: list[Path] = []
    try:
        for folder in sorted({Path(path).parent for path in paths}):
            _lay(folder / name)
            laid.append(folder / name)
        yield name
    finally:
        for path in laid:
            path.unlink(missing_ok=True)


def _lay(path: Path) -> None:
    try:
        path.write_text(path.name)
    except OSError as error:
        raise Refused(
            what="it cannot be told whether a disk is shared",
            why=f"nothing can be written beside it: {error}",
            todo=f"Make {path.parent} writable for root on this host.",
        ) from error


def look(path: str, marker: str, *, whole: bool) -> Sight:
    """What this host sees at `path`. whole: with a digest of the whole file, about 1 s for each GB that it holds."""
    file = Path(path)
    folder = file.parent
    if not folder.is_dir():
        return Sight()
    room = os.statvfs(folder)
    exists = file.is_file()
    return Sight(
        marked=bool(marker) and _says(folder / marker),
        exists=file.exists(),
        inode=file.stat().st_ino if exists else 0,
        digest=digest(file) if whole and exists else "",
        folder=True,
        filesystem=folder.stat().st_dev,
        room_bytes=room.f_bavail * room.f_frsize,
    )


def _says(marker: Path) -> bool:
    try:
        return marker.name.startswith(PREFIX) and marker.read_text() == marker.name
    except OSError:
        return False


def digest(path: Path) -> str:
    """Of the whole file; read once for as long as it stays as it is."""
    info = path.stat()
    return _digest(str(path), info.st_ino, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, _inode: int, size: int, _changed: int) -> str:
    """A hole equals zeros and is not read, zeros are not digested: images are mostly empty, and copies less sparse."""
    whole = hashlib.blake2b(size.to_bytes(8), digest_size=16)
    with Path(path).open("rb", buffering=0) as file:
        at = _next_data(file.fileno(), 0)
        while at is not None:
            chunk = os.pread(file.fileno(), CHUNK_BYTES, at)
            if chunk != ZEROS[: len(chunk)]:
                whole.update(at.to_bytes(8) + chunk)
            at = _next_data(file.fileno(), at + CHUNK_BYTES)
    return whole.hexdigest()


def _next_data(fd: int, since: int) -> int | None:
    """Where the next chunk with data begins; chunks lie alike in every copy of the file."""
    try:
        return os.lseek(fd, since, os.SEEK_DATA) // CHUNK_BYTES * CHUNK_BYTES
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
