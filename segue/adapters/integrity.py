"""Reads and digests the memory of a guest that stands still, past its QEMU; it never writes there."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from segue.model.integrity import Blocks, Digests

MEMFD = "/memfd:memory-backend-memfd"
"""The name that QEMU gives to the file behind the guest's own memory; firmware and video memory have others."""
PAGE_BYTES = 4096
DIGEST_BYTES = 16
FEW_BYTES = 8 << 20
"""Less than this is read by one thread: to wake others takes longer."""

_mine = threading.local()


@contextmanager
def guest_memory(pid: int, memory_bytes: int) -> Iterator[int]:
    """The guest's memory as a file of its QEMU. Raises FileNotFoundError where the process has none such."""
    fd = _open(pid, memory_bytes)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(pid: int, memory_bytes: int) -> int:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not os.readlink(entry).startswith(MEMFD):
                continue
            fd = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # Closed while we looked.
        if os.fstat(fd).st_size == memory_bytes:
            return fd
        os.close(fd)
    raise FileNotFoundError(f"process {pid} has no guest memory of {memory_bytes} bytes in a file")


def sample(fd: int, pages: int) -> tuple[int, ...]:
    """Offsets of random pages that hold something; fewer where the guest holds less."""
    size = os.fstat(fd).st_size
    found = (_next_data(fd, random.randrange(0, size, PAGE_BYTES)) for _ in range(pages))
    return tuple(sorted({offset // PAGE_BYTES * PAGE_BYTES for offset in found if offset < size}))


def digest(fd: int, blocks: Blocks) -> Digests:
    """A digest of each block. A hole is not read, and equals a block of zeros: both hosts may differ in that."""
    begun_s = time.perf_counter()
    size, step = os.fstat(fd).st_size, blocks.block_bytes
    at: Sequence[int] = blocks.offsets or range(0, size, step)
    if len(at) * step <= FEW_BYTES:
        values = [_one(fd, offset, min(step, size - offset)) for offset in at]
    else:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            values = list(pool.map(lambda offset: _one(fd, offset, min(step, size - offset)), at))
    return Digests(tuple(values), time.perf_counter() - begun_s)


def speed_bytes_per_s() -> float:
    """How fast one thread of this host digests: about 5 ms of work."""
    block = bytearray(8 << 20)
    begun_s = time.perf_counter()
    hashlib.sha256(block).digest()
    return len(block) / (time.perf_counter() - begun_s)


def _one(fd: int, offset: int, length: int) -> str:
    if length <= 0:
        return ""
    if _next_data(fd, offset) >= offset + length:
        return _of_zeros(length)
    buffer = _buffer(length)
    got = os.preadv(fd, [buffer], offset)
    return hashed(buffer[:got])


def _buffer(length: int) -> memoryview:
    """Each thread's own, used again: a fresh one would cost a page fault for every page."""
    if len(getattr(_mine, "buffer", b"")) < length:
        _mine.buffer = memoryview(bytearray(length))
    view: memoryview = _mine.buffer
    return view[:length]


def hashed(data: memoryview | bytes | bytearray) -> str:
    """SHA-256, cut to 128 bits."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES].hex()


@lru_cache(maxsize=16)
def _of_zeros(length: int) -> str:
    return hashed(bytes(length))


def _next_data(fd: int, offset: int) -> int:
    """The next byte from `offset` on that is not in a hole; behind the end where there is none."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return 1 << 62
