"""Digests of memory in a file: a hole equals zeros, one changed byte is seen, and nothing is written."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from segue.adapters import integrity
from segue.model.integrity import Blocks

MIB = 1 << 20
SIZE = 24 * MIB + 4096
WHOLE = Blocks("m", MIB)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("memory-backend-memfd")
    os.truncate(fd, SIZE)
    os.pwrite(fd, random.randbytes(9 * MIB), 3 * MIB + 4096)
    os.pwrite(fd, b"x" * 4096, SIZE - 4096)
    yield fd
    os.close(fd)


def copy(fd: int) -> int:
    other = os.memfd_create("memory-backend-memfd")
    for offset in range(0, SIZE, 4096):
        os.pwrite(other, os.pread(fd, 4096, offset), offset)
    return other


def test_equal_memory_has_equal_digests_whatever_is_a_hole(memory: int) -> None:
    other = copy(memory)
    assert os.fstat(other).st_blocks > os.fstat(memory).st_blocks
    assert integrity.digest(memory, WHOLE).values == integrity.digest(other, WHOLE).values
    assert len(integrity.digest(memory, WHOLE).values) == 25
    os.close(other)


@pytest.mark.parametrize("at", [0, 4 * MIB + 17, 23 * MIB, SIZE - 1])
def test_one_changed_byte_is_seen_in_its_block_and_page(memory: int, at: int) -> None:
    whole = integrity.digest(memory, WHOLE).values
    page = Blocks("m", 4096, (at // 4096 * 4096,))
    before = integrity.digest(memory, page).values
    os.pwrite(memory, bytes([os.pread(memory, 1, at)[0] ^ 1]), at)
    after = integrity.digest(memory, WHOLE).values
    assert [number for number, (a, b) in enumerate(zip(whole, after, strict=True)) if a != b] == [at // MIB]
    assert integrity.digest(memory, page).values != before


def test_reading_allocates_nothing(memory: int) -> None:
    held = os.fstat(memory).st_blocks
    integrity.digest(memory, WHOLE)
    integrity.digest(memory, Blocks("m", 4096, integrity.sample(memory, 200)))
    assert os.fstat(memory).st_blocks == held


def test_a_sample_is_of_pages_that_hold_something(memory: int) -> None:
    pages = integrity.sample(memory, 100)
    assert pages
    assert all(page % 4096 == 0 and any(os.pread(memory, 4096, page)) for page in pages)


def test_an_empty_guest_has_no_sample() -> None:
    fd = os.memfd_create("empty")
    os.truncate(fd, MIB)
    assert integrity.sample(fd, 10) == ()
    os.close(fd)


def test_the_memory_is_found_in_its_process_by_name_and_size(memory: int) -> None:
    with integrity.guest_memory(os.getpid(), SIZE) as fd:
        assert integrity.digest(fd, WHOLE).values == integrity.digest(memory, WHOLE).values
    with pytest.raises(FileNotFoundError), integrity.guest_memory(os.getpid(), SIZE + 1):
        pass
