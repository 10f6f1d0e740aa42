"""What userfaultfd(2) is asked and says (linux/userfaultfd.h), for memory that another process wants; it holds none.

Of a process that goes on living: its forks, moved and given back memory are events, too, and wait until they are read.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from segue.adapters.criu.memory import PAGE_BYTES

API, API_IOCTL = 0xAA, 0xC018AA3F
COPY_IOCTL, ZERO_IOCTL, WAKE_IOCTL = 0xC028AA03, 0xC020AA04, 0x8010AA02
NUMBERS: Final = {"x86_64": 323, "aarch64": 282}
"""Of the system call."""
EVENTS: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6
"""UFFD_FEATURE_EVENT_FORK, _REMAP, _REMOVE, _UNMAP: what CRIU asks for (criu/uffd.c)."""
MESSAGE: Final = struct.Struct("=B7xQQQ")
MESSAGES: Final = 64
"""Read at once."""


class Event(IntEnum):
    """What a message is about."""

    FAULT = 0x12
    """(flags, address)"""
    FORK = 0x13
    """(the child's descriptor)"""
    MOVED = 0x14
    """(from, to, bytes)"""
    GIVEN_BACK = 0x15
    UNMAPPED = 0x16
    """These two: (start, end)"""


class Changing(Exception):
    """Its memory is just being changed: there is an event to be read first."""


class Missing(Exception):
    """This part of its memory is not there any more."""


class Ended(Exception):
    """The process has ended, and its memory with it."""


def works() -> bool:
    """Whether this program may hold the faults of other processes, with their events."""
    if (number := NUMBERS.get(os.uname().machine)) is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if (fd := libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK)) < 0:
        return False
    try:
        fcntl.ioctl(fd, API_IOCTL, bytearray(struct.pack("=QQQ", API, EVENTS, 0)))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def messages(fd: int) -> Iterator[tuple[Event, int, int, int]]:
    """What waits; nothing where nothing does. Raises OSError, ValueError."""
    try:
        said = os.read(fd, MESSAGES * MESSAGE.size)
    except BlockingIOError:
        return
    for kind, *words in MESSAGE.iter_unpack(said):
        yield Event(kind), words[0], words[1], words[2]


def copy(fd: int, to: int, buffer: ctypes.Array[ctypes.c_char], length: int) -> int:
    """Puts what the buffer holds in place, whole pages; how many bytes: it ends at the first page that is there
    already. Raises Changing, Missing, Ended, OSError."""
    words = bytearray(struct.pack("=QQQQq", to, ctypes.addressof(buffer), length, 0, 0))
    return _put(fd, COPY_IOCTL, words)


def zero(fd: int, at: int, length: int) -> int:
    """As `copy`, with nothing in it."""
    return _put(fd, ZERO_IOCTL, bytearray(struct.pack("=QQQq", at, length, 0, 0)))


def wake(fd: int, at: int) -> None:
    """Whoever waits for this page looks again."""
    fcntl.ioctl(fd, WAKE_IOCTL, struct.pack("=QQ", at, PAGE_BYTES))


def _put(fd: int, request: int, words: bytearray) -> int:
    try:
        fcntl.ioctl(fd, request, words)
    except OSError as error:
        (done,) = struct.unpack_from("=q", words, len(words) - 8)
        if done > 0:
            return int(done)
        if error.errno == errno.EEXIST:
            return 0
        if error.errno == errno.EAGAIN:
            raise Changing from error
        if error.errno == errno.ENOENT:
            raise Missing from error
        if error.errno == errno.ESRCH:
            raise Ended from error
        raise
    (done,) = struct.unpack_from("=q", words, len(words) - 8)
    return int(done)
