"""Puts the pages of a restored application in place as its processes ask for them, and the others meanwhile: one
process of a move on its target. All of them are on this host already, in CRIU's images; nothing is fetched.

Run as `python -m segue.adapters.criu.pager`, with a listening socket as its input (CRIU says there what it restores,
see criu/uffd.c) and told by its arguments where the images are and which cgroup the application is in. It outlives its
agent, ends once all is in place, and says so by its exit status.

They are two: whoever closes the last descriptor of such memory gives the processes zeros for what they lack. So the
guard holds all of them, too, and where the filler ends before its work does, ends the application before it lets go.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

from segue.adapters.criu import freezer, laziness, userfault
from segue.adapters.criu.holes import Hole, Holes
from segue.adapters.criu.memory import PAGE_BYTES
from segue.adapters.criu.userfault import Changing, Ended, Event, Missing

NUMBER: Final = struct.Struct("=i")
RESTORED: Final = 0x52535446
"""criu/uffd.c, LAZY_PAGES_RESTORE_FINISHED: all processes are made."""
NEAR_BYTES: Final = 16 * PAGE_BYTES
"""Put in place together where one of them is asked for."""
MORE_BYTES: Final = 64 * PAGE_BYTES
"""Put in place at once where nobody asks; whoever does then waits for so many."""
REST_S: Final = 0.01
"""After the kernel had no memory for a page."""
ENDS_MS: Final = 100


class Filler:
    """Those processes whose memory is not whole yet."""

    def __init__(self, images: Path, guard: socket.socket) -> None:
        self._images = images
        self._guard = guard
        self._holes: dict[int, Holes] = {}
        """By the descriptor of their memory."""
        self._restored = False
        self._poll = select.poll()
        self._poll.register(guard, select.POLLIN)
        buffer = ctypes.create_string_buffer(MORE_BYTES + PAGE_BYTES)
        skip = -ctypes.addressof(buffer) % PAGE_BYTES
        self._pages = (ctypes.c_char * MORE_BYTES).from_buffer(buffer, skip)
        """A buffer of whole pages."""

    def run(self) -> None:
        """Returns once all is in place, or nothing is left that needs it. Raises OSError, ValueError."""
        while not self._restored or any(self._holes.values()):
            for fd, _ in self._poll.poll(0 if self._restored else None):
                if fd == self._guard.fileno():
                    self._hear()
                elif fd in self._holes:
                    self._answer(fd)
            if self._restored:
                self._go_on()

    def _hear(self) -> None:
        said, fds, _, _ = socket.recv_fds(self._guard, NUMBER.size, 1)
        if not said:
            raise ConnectionError("CRIU did not restore all of it")
        (number,) = NUMBER.unpack(said)
        if fds:
            self._add(fds[0], Holes(laziness.holes(self._images, number)))
        else:
            self._restored = True
            self._poll.unregister(self._guard)  # Its end alone is no reason to stop.

    def _add(self, fd: int, holes: Holes) -> None:
        self._holes[fd] = holes
        self._poll.register(fd, select.POLLIN)

    def _answer(self, fd: int) -> None:
        """Events come first: what waits for a page finds what they have changed."""
        faults: dict[int, None] = {}
        for kind, first, second, third in userfault.messages(fd):
            if kind is Event.FAULT:
                faults[second // PAGE_BYTES * PAGE_BYTES] = None
            elif kind is Event.FORK:
                self._fork(fd, first)
            elif kind is Event.MOVED:
                self._holes[fd].move(first, second, third)
            else:
                self._holes[fd].cut(first, second)
        for address in faults:
            if fd in self._holes:  # It may have ended at the one before.
                self._give(fd, address)

    def _fork(self, fd: int, child: int) -> None:
        with contextlib.suppress(OSError):  # The guard has ended: it goes on without.
            socket.send_fds(self._guard, [NUMBER.pack(0)], [child])
        self._add(child, self._holes[fd].copy())

    def _give(self, fd: int, address: int) -> None:
        """Somebody waits for this page; its neighbours come along."""
        first = address // NEAR_BYTES * NEAR_BYTES
        try:
            for hole in self._holes[fd].within(address, address + PAGE_BYTES):
                self._put(fd, hole)
                break
            else:
                userfault.zero(fd, address, PAGE_BYTES)
            userfault.wake(fd, address)
            for hole in self._holes[fd].within(first, first + NEAR_BYTES):
                self._put(fd, hole)
        except Changing:
            return  # Whoever waits asks again, once that event was read.
        except Missing:
            userfault.wake(fd, address)  # It is told what an address is that is not there.
        except Ended:
            self._forget(fd)

    def _go_on(self) -> None:
        """A few more that nobody asked for."""
        fd, holes = next(((fd, holes) for fd, holes in self._holes.items() if holes), (-1, Holes()))
        for hole in holes:
            try:
                return self._put(fd, hole.part(hole.start, hole.start + MORE_BYTES))
            except Changing:
                return None  # That event is read first.
            except Missing:
                holes.cut(hole.start, hole.start + PAGE_BYTES)
            except Ended:
                return self._forget(fd)
        return None

    def _put(self, fd: int, hole: Hole) -> None:
        """Raises Changing, Missing, Ended, OSError."""
        at = hole.start
        while at < hole.end:
            length = min(MORE_BYTES, hole.end - at)
            self._read(hole, at, length)
            try:
                done = userfault.copy(fd, at, self._pages, length)
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
                time.sleep(REST_S)
                continue
            done = done or PAGE_BYTES  # That page was written meanwhile by whoever it belongs to.
            self._holes[fd].cut(at, at + done)
            at += done

    def _read(self, hole: Hole, at: int, length: int) -> None:
        view = memoryview(self._pages).cast("B")[:length]
        if os.preadv(hole.file, [view], hole.offset + at - hole.start) != length:
            raise ValueError("an image has become shorter")

    def _forget(self, fd: int) -> None:
        """That process has ended. The others' memory is kept until all of it is in place: the guard holds it, too."""
        self._poll.unregister(fd)
        del self._holes[fd]
        os.close(fd)


class Guard:
    """Holds what the filler works with, until that has ended."""

    def __init__(self, listener: socket.socket, filler: socket.socket, child: int) -> None:
        self._listener, self._filler = listener, filler
        self._kept: list[int] = []
        self._child = os.pidfd_open(child)
        self._criu: socket.socket | None = None

    def run(self) -> None:
        """Returns when the filler has ended."""
        poll = select.poll()
        for one in (self._child, self._listener.fileno(), self._filler.fileno()):
            poll.register(one, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._child:
                    return
                if fd == self._listener.fileno():
                    self._criu = self._listener.accept()[0]
                    poll.unregister(fd)
                    poll.register(self._criu, select.POLLIN)
                elif fd == self._filler.fileno():
                    if not self._keep_fork():
                        poll.unregister(fd)
                elif self._criu is not None and not self._pass_on(self._criu):
                    poll.unregister(fd)

    def _keep_fork(self) -> bool:
        said, fds, _, _ = socket.recv_fds(self._filler, NUMBER.size, 1)
        self._kept += fds
        return bool(said)

    def _pass_on(self, criu: socket.socket) -> bool:
        """One process, or that there are no more; False once nothing else comes."""
        said = criu.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(said) < NUMBER.size:
            self._filler.shutdown(socket.SHUT_WR)
            return False
        (number,) = NUMBER.unpack(said)
        if number == RESTORED:
            self._filler.sendall(said)
            return False
        if number > 0:  # Else it has ended already, and has no memory.
            _, fds, _, _ = socket.recv_fds(criu, 1, 1)
            self._kept += fds
            socket.send_fds(self._filler, [said], fds)
        return True


def main() -> int:
    images, cgroup = map(Path, sys.argv[1:3])
    guards, fillers = socket.socketpair()
    child = os.fork()
    if not child:
        guards.close()
        try:
            Filler(images, fillers).run()
        except (OSError, ValueError) as error:
            print(f"pages are not put in place any more: {error!r}", flush=True)
            _end(cgroup)  # The guard may have ended.
            os._exit(1)
        os._exit(0)
    fillers.close()
    guard = Guard(socket.socket(fileno=0), guards, child)
    with contextlib.suppress(OSError):  # The filler ended just then, or CRIU: what is held stays held.
        guard.run()
    with contextlib.suppress(OSError):
        guards.shutdown(socket.SHUT_WR)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        print(
            f"the filler ended ({status}): the application ends before it reads what is not there", flush=True
        )
        _end(cgroup)
    return min(abs(status), 1)


def _end(cgroup: Path) -> None:
    """Returns when nothing of it runs any more."""
    freezer.kill(cgroup)
    events = cgroup / "cgroup.events"
    while events.exists() and "populated 1" in events.read_text():
        time.sleep(ENDS_MS / 1000)


if __name__ == "__main__":
    sys.exit(main())
