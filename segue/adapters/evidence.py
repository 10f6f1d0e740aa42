"""Reads what may show why something broke: the ends of logs. It reads, keeps nothing, and judges nothing."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import Final

RECORD: Final = re.compile(r"(\d+),(\d+),(\d+),[^;]*;(.*)")
RECORD_BYTES: Final = 8192
READS_MOST: Final = 50_000


def tail(path: Path, most_bytes: int) -> str:
    """The end of a file; why it cannot be read, where that is so. A guest wrote it: never through a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return "(there is none)"
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    try:
        size = os.fstat(handle).st_size
        data = os.pread(handle, most_bytes, max(0, size - most_bytes))
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    finally:
        os.close(handle)
    text = "".join(c for c in data.decode(errors="replace") if c.isprintable() or c in "\n\t")
    return text if size <= most_bytes else f"[...]{text}"


def kernel_log(path: Path, lines_most: int) -> str:
    """The last messages of the kernel, with the seconds since its boot."""
    lines: deque[str] = deque(maxlen=lines_most)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"(cannot be read: {path}: {error.strerror})"
    try:
        for line in b"".join(_chunks(handle)).decode(errors="replace").splitlines():
            if record := RECORD.fullmatch(line):
                lines.append(f"[{int(record[3]) / 1e6:12.6f}] {record[4]}")
    except OSError as error:
        lines.append(f"(reading ended: {error.strerror})")
    finally:
        os.close(handle)
    return "\n".join(lines)


def _chunks(handle: int) -> list[bytes]:
    """The kernel gives one whole record for each read; a file of that form gives many."""
    found = []
    for _ in range(READS_MOST):
        try:
            chunk = os.read(handle, RECORD_BYTES)
        except BlockingIOError:
            break
        except BrokenPipeError:  # Records were overwritten before we came to them.
            continue
        if not chunk:
            break
        found.append(chunk)
    return found
