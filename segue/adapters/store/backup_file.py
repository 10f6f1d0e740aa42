"""The file of a backup: JSON lines with a checksum at the end. A file that is not whole is never taken for a backup."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.store import Entry

T = TypeVar("T")
FORMAT: Final = "segue-store-backup/1"
LINE_BYTES: Final = 2 * nouns.VALUE_BYTES


@dataclass(frozen=True)
class Head:
    """The first line."""

    format: str
    revision: int
    epoch: int
    taken_s: float


@dataclass(frozen=True)
class Line:
    """One key; the value is in base64."""

    key: str
    value: bytes


@dataclass(frozen=True)
class Foot:
    """The last line; the checksum is of all bytes before it."""

    entries: int
    sha256: str


class Backup:
    """A file that was read once, from its first line to its last, and is whole."""

    def __init__(self, path: Path, head: Head, foot: Foot) -> None:
        self.path = path
        self.head = head
        self.entries = foot.entries
        self.digest = foot.sha256

    async def read(self) -> AsyncIterator[Entry]:
        """All entries, in the order of their keys."""
        with self.path.open("rb") as file:
            file.readline(LINE_BYTES)
            for _ in range(self.entries):
                line = msgspec.json.decode(file.readline(LINE_BYTES), type=Line)
                yield Entry(line.key, line.value, 0)


async def write(path: Path, head: Head, entries: AsyncIterator[Entry]) -> int:
    """How many were written. The file has its name only once it is whole and on the disk. Raises Refused."""
    half = path.with_name(f".{path.name}.half")
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            count = await _write(file, head, entries)
            file.flush()
            os.fsync(file.fileno())
        os.link(half, path)  # refuses where a file has that name, as no rename does
        _sync(path.parent)
    except OSError as error:
        raise Refused(
            what=f"no backup was written to {path}",
            why=str(error),
            todo="Choose a new name on a disk with room.",
            kind=Kind.CONFLICT if isinstance(error, FileExistsError) else Kind.POLICY,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            half.unlink()
    return count


async def _write(file: BinaryIO, head: Head, entries: AsyncIterator[Entry]) -> int:
    digest, count = hashlib.sha256(), 0

    def put(what: Head | Line | Foot) -> None:
        raw = msgspec.json.encode(what) + b"\n"
        digest.update(raw)
        file.write(raw)

    put(head)
    async for entry in entries:
        put(Line(entry.key, entry.value))
        count += 1
    put(Foot(count, digest.hexdigest()))
    return count


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check(path: Path) -> Backup:
    """Reads all of it. Raises Refused for a file that is not a whole backup."""
    try:
        with path.open("rb") as file:
            return _check(path, file)
    except OSError as error:
        raise _refused(path, str(error), Kind.NOT_FOUND) from error


def _check(path: Path, file: BinaryIO) -> Backup:
    digest, count, last = hashlib.sha256(), 0, ""
    first = file.readline(LINE_BYTES)
    head = _decode(path, first, Head)
    if head.format != FORMAT:
        raise _refused(path, f"its format is {head.format[:40]!r}, not {FORMAT}")
    digest.update(first)
    for raw in _lines(file):
        if raw.startswith(b'{"entries":'):
            foot = _decode(path, raw, Foot)
            if file.read(1) or foot != Foot(count, digest.hexdigest()):
                raise _refused(path, "its checksum is wrong: it was changed or damaged")
            return Backup(path, head, foot)
        key = _decode(path, raw, Line).key
        if not nouns.lawful_key(key) or key <= last:
            raise _refused(path, f"{key[:40]!r} cannot stand there as a key")
        digest.update(raw)
        count, last = count + 1, key
    raise _refused(path, "its end is missing")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while raw := file.readline(LINE_BYTES):
        yield raw


def _decode(path: Path, raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.MsgspecError as error:
        raise _refused(path, f"it has a line that is none of a backup's ({error})") from error


def _refused(path: Path, why: str, kind: Kind = Kind.POLICY) -> Refused:
    return Refused(what=f"cannot restore from {path}", why=why, todo="Take another backup.", kind=kind)
