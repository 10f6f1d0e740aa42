"""Trials of processes, of memory and of what a process is: made before there is any thread."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from trials import NUMBER, Turn, demand

PIECE_BYTES = 1 << 16
DEPTH = 3
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p


def trials(memory_mib: int) -> Iterator[tuple[str, Turn]]:
    """All of them."""
    yield "a tree of processes", _tree()
    yield "a process that has ended and is not waited for", _ended()
    yield "another program", _program()
    yield "shared memory", _shared()
    yield "System V shared memory", _system_v()
    yield "a semaphore of several processes", _semaphore()
    yield "memory", _memory(memory_mib)
    yield "what it is", _identity()


def _tree() -> Turn:
    """A number goes down from child to child and comes back."""
    ends = _descend(DEPTH)

    def turn(number: int) -> None:
        os.write(ends[1], NUMBER.pack(number))
        came = NUMBER.unpack(os.read(ends[0], 8))[0]
        demand(came == number + DEPTH, f"{came} came")

    return turn


def _descend(depth: int) -> tuple[int, int]:
    """(reads, writes): ends of a child that has children of its own."""
    down, up = os.pipe(), os.pipe()
    if os.fork():
        return up[0], down[1]
    os.setsid()
    lower = _descend(depth - 1) if depth > 1 else None
    while data := os.read(down[0], 8):
        if lower is not None:
            os.write(lower[1], data)
            data = os.read(lower[0], 8)
        os.write(up[1], NUMBER.pack(NUMBER.unpack(data)[0] + 1))
    os._exit(0)


def _ended() -> Turn:
    child = os.fork()
    if child == 0:
        os._exit(7)

    def turn(number: int) -> None:
        seen = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        demand(seen is not None and seen.si_status == 7, f"{seen}")

    return turn


def _program() -> Turn:
    child = subprocess.Popen(["busybox", "sh", "-c", "while read n; do echo $((n + 1)); done"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def turn(number: int) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"%d\n" % number)
        child.stdin.flush()
        demand(child.stdout.readline() == b"%d\n" % (number + 1), "another number came")

    return turn


def _shared() -> Turn:
    view = mmap.mmap(-1, 4096)
    if os.fork() == 0:
        while True:
            view[:8] = NUMBER.pack(NUMBER.unpack(view[:8])[0] + 1)
            time.sleep(0.005)
    last = [0]

    def turn(number: int) -> None:
        until_s = time.time() + 4
        while (now := NUMBER.unpack(view[:8])[0]) == last[0]:
            demand(time.time() < until_s, f"the other process does not count beyond {now}")
            time.sleep(0.002)
        demand(now > last[0], f"{last[0]} became {now}")
        last[0] = now

    return turn


def _system_v() -> Turn:
    found = libc.shmget(0, 8192, 0o600 | 0o1000)
    demand(found >= 0, "shmget")
    view = (ctypes.c_uint64 * 1024).from_address(libc.shmat(found, None, 0))

    def turn(number: int) -> None:
        demand(not number or view[(number - 1) % 1024] == number - 1, "it lost a number")
        view[number % 1024] = number

    return turn


def _semaphore() -> Turn:
    forked = multiprocessing.get_context("fork")
    asks, answers = forked.Semaphore(0), forked.Semaphore(0)
    if os.fork() == 0:
        while True:
            asks.acquire()
            answers.release()

    def turn(number: int) -> None:
        asks.release()
        demand(answers.acquire(timeout=4), "no answer came")

    return turn


def _memory(mib: int) -> Turn:
    block = bytearray(os.urandom(1 << 20) * mib)
    count = len(block) // PIECE_BYTES
    digests = [hashlib.blake2b(block[at * PIECE_BYTES :][:PIECE_BYTES]).digest() for at in range(16)]

    def turn(number: int) -> None:
        at = number % count
        piece = memoryview(block)[at * PIECE_BYTES : (at + 1) * PIECE_BYTES]
        demand(hashlib.blake2b(piece).digest() == digests[at % 16], f"piece {at} has changed")

    return turn


def _identity() -> Turn:
    before = _said()

    def turn(number: int) -> None:
        now = _said()
        changed = {name: (before[name], value) for name, value in now.items() if value != before[name]}
        demand(not changed, f"{changed}")

    return turn


def _said() -> dict[str, object]:
    limits = {
        name: resource.getrlimit(getattr(resource, name))
        for name in dir(resource)
        if name.startswith("RLIMIT_")
    }
    old = os.umask(0o022)
    os.umask(old)
    status = dict(line.split(":", 1) for line in Path("/proc/1/status").read_text().splitlines())
    kept = ("CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "Groups", "Uid", "Gid")
    return {
        "numbers": (os.getpid(), os.getppid(), os.getsid(0), os.getpgid(0)),
        "cwd": os.getcwd(),
        "umask": old,
        "limits": limits,
        "host": socket.gethostname(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "handlers": str(signal.getsignal(signal.SIGTERM)),
        "oom": Path("/proc/self/oom_score_adj").read_text(),
        **{name: status[name].strip() for name in kept},
    }
