"""Finds and ends the processes of a lab, and only those; it trusts no file alone to say which they are."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

MARK: Final = "SEGUE_LAB_MEMBER"
END_LIMIT_S: Final = 20.0


def mark(top: Path, name: str) -> str:
    """The value of the variable that every process of a lab's machine is started with."""
    return f"{top}:{name}"


def birth(pid: int) -> str:
    """Tells this process from a later one of the same number; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    # A zombie has no namespaces any more: for us it is gone.
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def marked(top: Path) -> list[int]:
    """Every process that was started in one of the lab's machines and kept its environment."""
    wanted = f"{MARK}={top}:".encode()
    return [pid for pid in _pids() if wanted in _read(pid, "environ")]


def in_network_of(pids: Iterable[int]) -> list[int]:
    """Every process that holds the network namespace of one of these, also one that only entered it."""
    with ExitStack() as held:
        networks = {held.enter_context(_kept(pid, "net")) for pid in pids} - {
            "",
            _namespace(os.getpid(), "net"),
        }
        return [pid for pid in _pids() if _namespace(pid, "net") in networks]


def inside(pid: int) -> list[int]:
    """Every process in the pid namespace of this one, by the machine's numbers."""
    with _kept(pid, "pid") as wanted:
        return [other for other in _pids() if wanted and _namespace(other, "pid") == wanted]


@contextlib.contextmanager
def _kept(pid: int, kind: str) -> Iterator[str]:
    """The name of its namespace, which stays its alone meanwhile: the kernel gives the number of one that has ended to
    the next that is made, such as that of another lab's machine. Empty for a process that has ended."""
    try:
        handle = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        yield ""
        return
    try:
        yield os.readlink(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def mounts() -> str:
    """The mounts of every process, each mount namespace once."""
    # A zombie has no namespace any more and cannot be asked.
    one_of_each = {found: pid for pid in _pids() if (found := _namespace(pid, "mnt"))}
    return "\n".join(_read(pid, "mountinfo").decode(errors="replace") for pid in one_of_each.values())


def end(pids: Iterable[int], limit_s: float = END_LIMIT_S) -> list[int]:
    """Kill them and wait until they are gone; return those that are still there at the limit."""
    watched = {fd: pid for pid in pids if (fd := _open(pid)) is not None}
    try:
        for fd in watched:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        return _wait(watched, limit_s)
    finally:
        for fd in watched:
            os.close(fd)


def wait_for_end(pids: Iterable[int], limit_s: float) -> list[int]:
    """Wait until they are gone by themselves; return those that are not."""
    watched = {fd: pid for pid in pids if (fd := _open(pid)) is not None}
    try:
        return _wait(watched, limit_s)
    finally:
        for fd in watched:
            os.close(fd)


def _wait(watched: dict[int, int], limit_s: float) -> list[int]:
    """A pidfd becomes readable when its process has ended."""
    poll = select.poll()
    for fd in watched:
        poll.register(fd, select.POLLIN)
    left = dict(watched)
    deadline = time.monotonic() + limit_s
    while left and (rest_s := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(rest_s * 1000):
            poll.unregister(fd)
            del left[fd]
    return sorted(left.values())


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended, and the kernel has a different number for each moment of an end
        return b""


def _namespace(pid: int, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
