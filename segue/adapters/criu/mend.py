"""Mends what CRIU (up to 4.2) writes down so that it restores it wrongly: timerfds. It changes nothing else.

One with a period that ran off while its owner stood has no time left until it is read: CRIU would switch it off.
One that was set to a point in time is set anew to a whole second, up to a second too early.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = "files.img"
HEAD_BYTES: Final = 8
"""Two magic numbers."""
SIZE: Final = struct.Struct("<I")
TIMER: Final = 12
"""criu/images/fdinfo.proto: file_entry.tfd."""
TICKS, FLAGS, SECONDS, NANOSECONDS, PERIOD_SECONDS, PERIOD_NANOSECONDS = range(5, 11)
"""criu/images/timerfd.proto: timerfd_entry."""
POINT_IN_TIME, CANCEL_ON_SET = 1, 2
"""TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET"""
VARINT, BYTES = 0, 2
Field = tuple[int, int, int | bytes]
"""Number, wire type, value: see protobuf.dev/programming-guides/encoding."""


def mend(images: Path) -> None:
    """The images of an application that was dumped, before it is restored from them. Raises OSError, ValueError."""
    path = images / NAME
    if not path.exists():
        return
    before = path.read_bytes()
    after = b"".join((before[:HEAD_BYTES], *(_packed(_mended(entry)) for entry in _entries(before))))
    if after != before:
        half = path.with_name(f".{NAME}")
        half.write_bytes(after)
        half.replace(path)


def _mended(entry: bytes) -> bytes:
    fields = list(_fields(entry))
    if not any(number == TIMER for number, _, _ in fields):
        return entry
    return _message(
        (number, kind, _timer(value) if number == TIMER and isinstance(value, bytes) else value)
        for number, kind, value in fields
    )


def _timer(message: bytes) -> bytes:
    fields = list(_fields(message))
    said = {number: value for number, _, value in fields if isinstance(value, int)}
    if said[FLAGS] & POINT_IN_TIME and not said[FLAGS] & CANCEL_ON_SET:
        said[FLAGS] &= ~POINT_IN_TIME  # What is written down is the time that was left.
    if said[TICKS] and not said[SECONDS] and not said[NANOSECONDS]:
        said[SECONDS], said[NANOSECONDS] = said[PERIOD_SECONDS], said[PERIOD_NANOSECONDS]
    return _message((number, kind, said.get(number, value)) for number, kind, value in fields)


def _entries(image: bytes) -> Iterator[bytes]:
    at = HEAD_BYTES
    while at < len(image):
        (size,) = SIZE.unpack_from(image, at)
        at += SIZE.size
        if at + size > len(image):
            raise ValueError(f"{NAME} is cut off")
        yield image[at : at + size]
        at += size


def _packed(entry: bytes) -> bytes:
    return SIZE.pack(len(entry)) + entry


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        size, at = _varint(message, at) if kind == BYTES else ({1: 8, 5: 4}[kind], at)
        yield number, kind, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(value, where the next thing begins)."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _message(fields: Iterator[Field]) -> bytes:
    out = bytearray()
    for number, kind, value in fields:
        out += _encoded(number << 3 | kind)
        if isinstance(value, int):
            out += _encoded(value)
            continue
        if kind == BYTES:
            out += _encoded(len(value))
        out += value
    return bytes(out)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
