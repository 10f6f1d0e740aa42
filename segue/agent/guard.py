"""The guard: a small process beside the agent that ends guests whose host's lease is over, and feeds the watchdog.

It must never wait for anybody: not for the agent, a disk, the network, or memory that was paged out. What it does
follows from `policy/lease.py`. It outlives the agent; where it dies, nobody feeds the machine's watchdog any more.

Started as `python -m segue.agent.guard SOCKET WATCHDOG SECONDS`. It says `ready` or `failed TEXT` on its standard
output, once. Whoever connects sends one JSON object at a time, with a pidfd where a guest is to be admitted.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from segue.adapters.watchdog import Watchdog
from segue.model.lease import Watched
from segue.policy import lease

LOOK_S: Final = 0.2
WORD_BYTES: Final = 4096
LOCK_ALL: Final = 3
"""MCL_CURRENT | MCL_FUTURE."""


class Guard:
    """Guests by their handles, pidfds here, and until when they may run. What it decides needs no more of a machine
    than the four small methods at its end."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._watched = Watched()
        self._guests: dict[int, str] = {}
        self.ends = False

    def look(self) -> None:
        """Kills what is overdue, forgets what is gone, feeds the watchdog if it may."""
        now_s = self._now_s()
        self._watched = lease.seen_at(self._watched, now_s)
        self._bury()
        found = lease.deeds(self._watched, now_s, len(self._guests))
        if found.kill:
            for handle in self._guests:
                self._kill(handle)
        if found.feed:
            self._watchdog.feed()

    def _bury(self) -> None:
        for handle in self._gone(list(self._guests)) if self._guests else ():
            self._close(handle)
            del self._guests[handle]

    def answer(self, word: dict[str, Any], handles: list[int]) -> dict[str, Any]:
        """What came of one word of the agent's. Handles that are not kept are closed."""
        now_s = self._now_s()
        self._watched = lease.seen_at(self._watched, now_s)
        match word.get("do"):
            case "renew":
                self._watched = lease.renewed(self._watched, float(word["until_s"]), now_s)
            case "begin":
                self._bury()
                self._watched = lease.begun(self._watched, float(word["until_s"]), now_s, len(self._guests))
            case "admit" if not self._watched.over and handles:
                self._guests[handles.pop()] = str(word["guest"])
            case "end":
                handles += self._guests
                self._guests.clear()
                self.ends = True
        for handle in handles:
            self._close(handle)
        return {
            "over": self._watched.over,
            "ends_s": self._watched.deadline_s,
            "guests": sorted(set(self._guests.values())),
        }

    def close(self) -> None:
        """The machine goes on without a watchdog, and guests without a lease."""
        self._watchdog.disarm()

    def _now_s(self) -> float:
        return _now_s()

    def _kill(self, handle: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)

    def _gone(self, handles: list[int]) -> list[int]:
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        return [handle for handle, _ in poll.poll(0)]

    def _close(self, handle: int) -> None:
        os.close(handle)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def serve(guard: Guard, door: socket.socket) -> None:
    """Until it is told to end. One connection at a time says one word at a time; a slow one holds up nothing."""
    door.setblocking(False)
    talking: set[socket.socket] = set()
    due_s = _now_s()
    while not guard.ends:
        ready, _, _ = select.select([door, *talking], [], [], max(0.0, due_s - _now_s()))
        if _now_s() >= due_s:
            guard.look()
            due_s = _now_s() + LOOK_S
        for one in ready:
            if one is door:
                with contextlib.suppress(OSError):
                    talking.add(door.accept()[0])
            elif not _hear(guard, one):
                one.close()
                talking.discard(one)
    guard.close()


def _hear(guard: Guard, one: socket.socket) -> bool:
    """False once it has hung up, or says what nobody understands."""
    try:
        data, handles, _, _ = socket.recv_fds(one, WORD_BYTES, 4, socket.MSG_DONTWAIT)
        if not data:
            return False
        answer = guard.answer(json.loads(data), handles)
        one.send(json.dumps(answer).encode(), socket.MSG_DONTWAIT)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _stay_awake() -> None:
    """In memory, before all others, and the last to be killed. A machine that refuses one of them has the rest."""
    ctypes.CDLL(None, use_errno=True).mlockall(LOCK_ALL)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")


def main(path: str, device: str, seconds: float) -> None:
    """The process. Ends with `failed` where it has no watchdog, or where another guard has the socket."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # A service that is stopped must not take it along.
    try:
        watchdog = Watchdog(device, seconds)
        Path(path).unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.bind(path)
        os.chmod(path, 0o600)
        door.listen(8)
    except OSError as error:
        print(f"failed {error}", flush=True)
        return
    _stay_awake()
    print("ready", flush=True)
    serve(Guard(watchdog), door)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
