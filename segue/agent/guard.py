"""The guard: a small process beside the agent that ends guests whose host's lease is over, and feeds the watchdog.

It must never wait for anybody: not for the agent, a disk, the network, or memory that was paged out. What it does
follows from `policy/lease.py`. It outlives the agent; where it dies, nobody feeds the machine's watchdog any more.

Started as `python -m segue.agent.guard SOCKET WATCHDOG SECONDS [UNTIL]`; UNTIL: when the lease ends that its forerunner
had, and under which guests may run that nobody has told it of yet. It says `ready` or `failed TEXT` on its standard
output, once. Whoever connects sends one JSON object at a time; with it a handle where a guest is to be admitted: the
pidfd of a machine's QEMU, or the folder of an application's cgroup, which ends as a whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from segue.adapters.oci.tree import Tree
from segue.adapters.watchdog import Watchdog
from segue.model.lease import Watched
from segue.policy import lease

VERSION: Final = 2
"""2: it takes cgroups, knows a guest that it has already, and awaits guests. One that says nothing is the first."""
LOOK_S: Final = 0.2
HANDLES_MOST: Final = 1 << 16
"""Three for each application, one for each machine."""
WORD_BYTES: Final = 4096
LOCK_ALL: Final = 3
"""MCL_CURRENT | MCL_FUTURE."""


class Guard:
    """Guests by their handles, pidfds and folders of cgroups here, and until when they may run. What it decides needs
    no more of a machine than the four small methods at its end."""

    def __init__(self, watchdog: Watchdog, until_s: float = 0.0) -> None:
        """until_s: see the head of this page; 0 for a guard that has no forerunner."""
        self._watchdog = watchdog
        self._watched = lease.inherited(until_s, self._now_s()) if until_s else Watched()
        self._guests: dict[int, tuple[str, str]] = {}
        """Handle -> uuid, and the mark by which the agent knows this very process or cgroup."""
        self._trees: dict[int, Tree] = {}
        self._awaits = bool(until_s)
        """There may be guests that it does not have yet: its forerunner died, and the agent brings them."""
        self.ends = False

    def look(self) -> None:
        """Kills what is overdue, forgets what is gone, feeds the watchdog if it may."""
        now_s = self._now_s()
        self._watched = lease.seen_at(self._watched, now_s)
        self._bury()
        # One that never came counts as one that does not end: then the machine is reset.
        found = lease.deeds(self._watched, now_s, len(self._guests) + self._awaits)
        if found.kill:
            for handle in self._guests:
                self._kill(handle)
        if found.feed:
            self._watchdog.feed()

    def _bury(self) -> None:
        for handle in self._gone(list(self._guests)) if self._guests else ():
            del self._guests[handle]
            self._close(handle)

    def answer(self, word: dict[str, Any], handles: list[int]) -> dict[str, Any]:
        """What came of one word of the agent's. Handles that are not kept are closed."""
        now_s = self._now_s()
        self._watched = lease.seen_at(self._watched, now_s)
        try:
            match word.get("do"):
                case "renew":
                    self._watched = lease.renewed(self._watched, float(word["until_s"]), now_s)
                case "begin":
                    self._bury()
                    until_s, living = float(word["until_s"]), len(self._guests)
                    self._watched = lease.begun(self._watched, until_s, now_s, living)
                    self._awaits = self._awaits and self._watched.over
                case "complete":
                    self._awaits = False
                case "admit" if not self._watched.over and handles:
                    self._admit(word, handles)
                case "end":
                    handles += self._guests
                    self._guests.clear()
                    self.ends = True
        finally:
            for handle in handles:
                self._close(handle)
        return {
            "over": self._watched.over,
            "ends_s": self._watched.deadline_s,
            "guests": sorted({guest for guest, _ in self._guests.values()}),
            "awaits": self._awaits,
            "version": VERSION,
        }

    def _admit(self, word: dict[str, Any], handles: list[int]) -> None:
        """An application of which nothing is left is not admitted: what comes into its cgroup later would not be
        known. A guest that is admitted again takes no second handle."""
        guest, mark = str(word["guest"]), str(word.get("mark", ""))
        if mark and (guest, mark) in self._guests.values():
            return
        if word.get("is_tree"):
            tree = Tree(handles[-1])
            if not tree.populated():
                tree.close()
                return
            self._trees[handles[-1]] = tree
        self._guests[handles.pop()] = (guest, mark)

    def close(self) -> None:
        """The machine goes on without a watchdog, and guests without a lease."""
        self._watchdog.disarm()

    def _now_s(self) -> float:
        return _now_s()

    def _kill(self, handle: int) -> None:
        if handle in self._trees:
            self._trees[handle].kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)

    def _gone(self, handles: list[int]) -> list[int]:
        gone, poll = (
            [one for one in handles if one in self._trees and not self._trees[one].populated()],
            select.poll(),
        )
        for handle in handles:
            if handle not in self._trees:
                poll.register(handle, select.POLLIN)
        return gone + [handle for handle, _ in poll.poll(0)]

    def _close(self, handle: int) -> None:
        if handle in self._trees:
            self._trees.pop(handle).close()
        os.close(handle)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def serve(guard: Guard, door: socket.socket) -> None:
    """Until it is told to end. One connection at a time says one word at a time; a slow one holds up nothing."""
    door.setblocking(False)
    talking: dict[int, socket.socket] = {door.fileno(): door}
    due_s = _now_s()
    # Not `select.select`, which takes no handle above 1023: each guest has one.
    poll = select.poll()
    poll.register(door, select.POLLIN)
    while not guard.ends:
        ready = [talking[number] for number, _ in poll.poll(1000 * max(0.0, due_s - _now_s()))]
        if _now_s() >= due_s:
            guard.look()
            due_s = _now_s() + LOOK_S
        for one in ready:
            if one is door:
                with contextlib.suppress(OSError):
                    came = door.accept()[0]
                    talking[came.fileno()] = came
                    poll.register(came, select.POLLIN)
            elif not _hear(guard, one):
                poll.unregister(one)
                del talking[one.fileno()]
                one.close()
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
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, HANDLES_MOST), most))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")


def main(path: str, device: str, seconds: float, until_s: float = 0.0) -> None:
    """The process. Ends with `failed` where it has no watchdog, or where another guard has the socket."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # A service that is stopped must not take it along.
    if until_s and _now_s() >= until_s + lease.KILL_S:  # To open it is to feed it once more.
        print("failed the lease of its forerunner is over, whose watchdog resets the machine", flush=True)
        return
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
    serve(Guard(watchdog, until_s), door)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
