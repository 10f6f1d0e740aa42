"""Timerfds in CRIU's images: what is mended, and that nothing else is changed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from segue.adapters.criu import mend

HEAD = b"CRIUfile"
TIMER = ("ticks", "flags", "seconds", "nanoseconds", "period_seconds", "period_nanoseconds")
NUMBERS = st.one_of(st.just(0), st.integers(0, 2**64 - 1))


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def timer(**said: int) -> bytes:
    """A file of sort TIMERFD (17) as CRIU writes it, with an owner in field 3 of the timer."""
    numbers = [(1, 9), (2, 0o4000), (4, 1), *((at, said[name]) for at, name in enumerate(TIMER, start=5))]
    inner = b"".join(varint(at << 3) + varint(value) for at, value in numbers)
    inner += varint(3 << 3 | 2) + varint(4) + b"\x08\x00\x10\x00"
    return b"\x08\x11\x10\x09" + varint(12 << 3 | 2) + varint(len(inner)) + inner


def image(*entries: bytes) -> bytes:
    return HEAD + b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)


def mended(folder: Path, *entries: bytes) -> bytes:
    (folder / mend.NAME).write_bytes(image(*entries))
    mend.mend(folder)
    return (folder / mend.NAME).read_bytes()


def read(raw: bytes) -> list[Any]:
    """Of each entry what CRIU reads: in which order its fields stand means nothing."""
    found, at = [], len(HEAD)
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        found.append(mend.Entry.FromString(raw[at + 4 : at + 4 + size]).SerializeToString(deterministic=True))
        at += 4 + size
    return found


def usual(**said: int) -> bytes:
    return timer(**dict.fromkeys(TIMER, 0) | said)


def test_one_that_ran_off_while_nobody_read_it_runs_on(tmp_path: Path) -> None:
    before = usual(ticks=1, period_nanoseconds=20_000_000)
    after = usual(ticks=1, nanoseconds=20_000_000, period_nanoseconds=20_000_000)
    assert read(mended(tmp_path, before)) == read(image(after))


def test_one_that_is_switched_off_stays_so(tmp_path: Path) -> None:
    before = usual(period_seconds=3)
    assert mended(tmp_path, before) == image(before)


def test_a_point_in_time_is_what_was_left_until_it(tmp_path: Path) -> None:
    before, cancels = usual(flags=1, nanoseconds=300), usual(flags=3, nanoseconds=300)
    assert read(mended(tmp_path, before, cancels)) == read(image(usual(flags=0, nanoseconds=300), cancels))


def test_without_the_file_there_is_nothing_to_mend(tmp_path: Path) -> None:
    mend.mend(tmp_path)
    assert not list(tmp_path.iterdir())


OTHER = st.one_of(
    st.builds(lambda at, value: varint(at << 3) + varint(value), st.integers(20, 900), NUMBERS),
    st.builds(
        lambda at, data: varint(at << 3 | 2) + varint(len(data)) + data, st.integers(20, 900), st.binary()
    ),
    st.builds(
        lambda at, data: varint(at << 3 | 1) + data, st.integers(20, 900), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda at, data: varint(at << 3 | 5) + data, st.integers(20, 900), st.binary(min_size=4, max_size=4)
    ),
)


@given(st.lists(st.lists(OTHER).map(b"".join)), st.lists(NUMBERS, min_size=6, max_size=6))
def test_everything_else_stays_as_it_is(
    tmp_path_factory: object, others: list[bytes], numbers: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("images")  # type: ignore[attr-defined]
    said = dict(zip(TIMER, numbers, strict=True)) | {"flags": 0, "seconds": 1}
    running = timer(**said) + b"".join(others[:1])
    assert mended(folder, *others, running) == image(*others, running)
