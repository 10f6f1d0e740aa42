"""Reads and digests the memory of an application's processes while they stand at CRIU's hooks; it never writes there.

Where something is, is said as model/integrity.py has it: (process << PROCESS_SHIFT) + address.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters.criu import areas, images
from segue.model.integrity import PROCESS_SHIFT, Blocks, Digests

PAGE_BYTES: Final = 4096
DIGEST_BYTES: Final = 16
ZEROS: Final = bytes(PAGE_BYTES)
ENTRY_BYTES: Final = 8
GONE: Final = (FileNotFoundError, ProcessLookupError)
"""What is heard of a process that has ended."""
# Documentation/admin-guide/mm/pagemap.rst: the top byte of an entry.
PRESENT, SWAPPED, OF_A_FILE = 0x80, 0x40, 0x20
IS_THERE: Final = bytes(bool(top & (PRESENT | SWAPPED)) for top in range(256))
IS_OWN: Final = bytes(bool(top & (PRESENT | SWAPPED)) and not top & OF_A_FILE for top in range(256))
"""For an entry's top byte."""
TRIES: Final = 20
"""For each page of a sample: a process may have reserved much more than it holds."""
SHARED: Final = ("/dev/zero (deleted)", "/memfd:", "/SYSV")
"""Shared memory that has no file, and goes with the processes."""
IOV_MAX: Final = 1024
_libc = ctypes.CDLL(None, use_errno=True)
KERNELS_OWN: Final = ("[vvar", "[vdso]", "[vsyscall]")
Core: Final = images.entry_type(
    {
        "Rseq": {"pointer": (1, images.NUMBER), "size": (2, images.NUMBER)},
        "Thread": {"rseq": (15, "Rseq")},
        "Core": {"thread": (5, "Thread")},
    }
)
"""criu/images/core.proto, rseq.proto: where the kernel itself writes which processor a thread runs on."""


class IoVec(ctypes.Structure):
    """sys/uio.h: struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@dataclass(frozen=True)
class Span:
    """Addresses of one process that hold memory of its own."""

    first: int
    end: int
    is_written: bool
    is_shared: bool
    inode: int = 0
    offset: int = 0
    """Of shared memory: which one it is, and where in it this begins."""
    is_code: bool = False


def processes(cgroup: Path) -> dict[int, int]:
    """A process's number in its own name space -> here."""
    found: dict[int, int] = {}
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with suppress(*GONE):
            status = Path(f"/proc/{pid}/status").read_text()
            inner = next((line for line in status.splitlines() if line.startswith("NSpid:")), f" {pid}")
            found[int(inner.split()[-1])] = int(pid)
    return found


def sample(cgroup: Path, pages: int) -> tuple[int, ...]:
    """Random pages that were written; fewer where it holds less. It may run meanwhile."""
    spans = [
        (inner, pid, span)
        for inner, pid in processes(cgroup).items()
        for span in spans_of(pid)
        if span.is_written and not span.is_shared
    ]
    if not spans:
        return ()
    weights = [span.end - span.first for _, _, span in spans]
    found: set[int] = set()
    for inner, pid, span in random.choices(spans, weights, k=TRIES * pages):
        if len(found) == pages:
            break
        address = random.randrange(span.first, span.end, PAGE_BYTES)
        with suppress(*GONE), opened(pid, "pagemap") as pagemap:
            if any(_states(pagemap, address, PAGE_BYTES).translate(IS_OWN)):
                found.add((inner << PROCESS_SHIFT) + address)
    return tuple(sorted(found))


def extent(cgroup: Path, block_bytes: int) -> tuple[int, ...]:
    """The blocks that hold anything of its own. It may run meanwhile."""
    return tuple(
        sorted(
            {
                (inner << PROCESS_SHIFT) + first // block_bytes * block_bytes
                for inner, pid in processes(cgroup).items()
                for _, first, _ in own_pages(pid, block_bytes)
            }
        )
    )


def own_pages(pid: int, block_bytes: int) -> Iterator[tuple[Span, int, bytes]]:
    """(where, address, for each page whether it is the process's own), for parts of blocks in which any is."""
    with suppress(*GONE), opened(pid, "pagemap") as pagemap:
        for span in spans_of(pid):
            for first in range(span.first // block_bytes * block_bytes, span.end, block_bytes):
                start, end = max(first, span.first), min(first + block_bytes, span.end)
                states = _states(pagemap, start, end - start)
                own = states.translate(IS_THERE if span.is_shared else IS_OWN)
                if any(own):
                    yield span, start, own


def digest(cgroup: Path, folder: Path, blocks: Blocks) -> Digests:
    """A digest of each block, of whatever in it is not zero; empty for one that is not there.

    folder: CRIU's images of these processes, which say what the kernel may have changed since. Raises OSError,
    ValueError.
    """
    begun_s = time.perf_counter()
    there, private = processes(cgroup), kernels_areas(folder)
    values: dict[int, str] = {}
    for inner in sorted({at >> PROCESS_SHIFT for at in blocks.offsets}):
        own = [at for at in blocks.offsets if at >> PROCESS_SHIFT == inner]
        if inner not in there:
            values |= dict.fromkeys(own, "")
            continue
        with opened(there[inner]) as handle:
            spans = spans_of(there[inner])
            for at in own:
                first = at & ((1 << PROCESS_SHIFT) - 1)
                reader = _Reader(there[inner], handle)
                values[at] = _one(reader, spans, (first, first + blocks.block_bytes), private)
    return Digests(tuple(values[at] for at in blocks.offsets), time.perf_counter() - begun_s)


def kernels_areas(folder: Path) -> Mapping[int, int]:
    """Where restartable sequences (rseq(2)) are registered, and what is not dumped as it begins anew: address -> bytes.
    Raises OSError, ValueError."""
    found = dict(areas.left_out(folder))
    for path in folder.glob("core-*.img"):
        for entry in images.entries(path.read_bytes(), path.name):
            rseq = images.decoded(Core, entry, path.name).thread.rseq
            if rseq.pointer:
                found[rseq.pointer] = rseq.size
    return found


@dataclass(frozen=True)
class _Reader:
    """The memory of one process."""

    pid: int
    handle: int

    def read(self, first: int, end: int) -> bytearray:
        """Raises OSError for what nobody may read: a device's memory, or what was never there."""
        with suppress(OSError):
            data = os.pread(self.handle, end - first, first)
            if len(data) == end - first:
                return bytearray(data)
        _touch(self.pid, first, end)
        return bytearray(os.pread(self.handle, end - first, first))


def _touch(pid: int, first: int, end: int) -> None:
    """Waits for pages that are put in place only when they are asked for (userfaultfd): to read a process's memory as
    a file does not wait, process_vm_readv(2) does."""
    byte = ctypes.create_string_buffer(1)
    for begin in range(first, end, IOV_MAX * PAGE_BYTES):
        pages = range(begin, min(begin + IOV_MAX * PAGE_BYTES, end), PAGE_BYTES)
        here = (IoVec * len(pages))(*(IoVec(ctypes.addressof(byte), 1) for _ in pages))
        there = (IoVec * len(pages))(*(IoVec(at, 1) for at in pages))
        _libc.process_vm_readv(pid, here, len(pages), there, len(pages), 0)


def _one(reader: _Reader, spans: Sequence[Span], block: tuple[int, int], private: Mapping[int, int]) -> str:
    made, is_empty = hashlib.sha256(), True
    for span in spans[max(0, bisect_right(spans, block[0], key=lambda span: span.first) - 1) :]:
        if span.first >= block[1]:
            break
        first, end = max(span.first, block[0]), min(span.end, block[1])
        for at, page in _pages(reader, first, end, private):
            made.update(at.to_bytes(8, "little"))
            made.update(page)
            is_empty = False
    return "" if is_empty else made.digest()[:DIGEST_BYTES].hex()


def _pages(reader: _Reader, first: int, end: int, private: Mapping[int, int]) -> Iterator[tuple[int, Any]]:
    """Those that are not zero, without what the kernel writes into them."""
    if first >= end:
        return
    try:
        data = reader.read(first, end)
    except OSError:
        return
    for at, size in private.items():
        begin, stop = max(at, first), min(at + size, end)
        if begin < stop:
            data[begin - first : stop - first] = bytes(stop - begin)
    view = memoryview(data)
    for offset in range(0, len(data), PAGE_BYTES):
        page = view[offset : offset + PAGE_BYTES]
        if page != ZEROS[: len(page)]:
            yield first + offset, page


@contextmanager
def opened(pid: int, name: str = "mem") -> Iterator[int]:
    """The memory of a process, or what is known of its pages, as a file. Raises OSError."""
    handle = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def spans_of(pid: int) -> list[Span]:
    """What may be read and is no file's or device's alone, in order."""
    found: list[Span] = []
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except GONE:
        return found
    for line in lines:
        words = line.split(None, 5)
        name = words[5] if len(words) > 5 else ""
        first, _, end = words[0].partition("-")
        is_shared = words[1][3] == "s"
        if (
            "r" in words[1]
            and not name.startswith(KERNELS_OWN)
            and (not is_shared or name.startswith(SHARED))
        ):
            areas = int(first, 16), int(end, 16)
            is_written, is_code = "w" in words[1], "x" in words[1]
            found.append(Span(*areas, is_written, is_shared, int(words[4]), int(words[2], 16), is_code))
    return found


def _states(pagemap: int, first: int, length: int) -> bytes:
    """The top byte of each page's entry."""
    raw = os.pread(pagemap, length // PAGE_BYTES * ENTRY_BYTES, first // PAGE_BYTES * ENTRY_BYTES)
    return raw[ENTRY_BYTES - 1 :: ENTRY_BYTES]
