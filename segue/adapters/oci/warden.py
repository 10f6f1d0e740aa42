"""The warden: a small process beside each application that outlives the agent. It decides nothing.

It starts whatever makes the container and ends (the runtime, or a restore), takes the container's first process in as
its own orphan, writes what the application says to rotated files, and how it ended to one more. Only the standard
library, and little of it, may be imported here: one runs for each application of a host.

Started as `python -I -S warden.py SPEC`. It says `ready PID` or `failed TEXT` on its standard output, once.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LINE_BYTES_MAX = 16384
"""A longer line is written in parts, as in the log format of Kubernetes (CRI)."""
READ_BYTES = 65536


class Log:
    """Lines with their time and stream, in the log format of CRI; the oldest of `files` makes room."""

    def __init__(self, folder: str, most_bytes: int, files: int) -> None:
        self._folder, self._most_bytes, self._files = folder, most_bytes, files
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._open()

    def write(self, stream: str, line: bytes, *, whole: bool) -> None:
        """One line, or a part of one."""
        now = time.time_ns()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
        head = f"{stamp}.{now % 10**9:09}Z {stream} {'F' if whole else 'P'} "
        text = head.encode() + line + b"\n"
        if self._size + len(text) > self._most_bytes:
            self._rotate()
        try:
            os.write(self._fd, text)
            self._size += len(text)
        except OSError:
            pass  # A full disk costs the application its log, and nothing else.

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(f"{self._folder}/current", flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        names = ["current", *(str(number) for number in range(1, self._files))]
        for older, newer in reversed(list(zip(names[1:], names[:-1], strict=True))):
            try:
                os.replace(f"{self._folder}/{newer}", f"{self._folder}/{older}")
            except OSError:
                continue
        os.close(self._fd)
        self._open()


class Stream:
    """One pipe of the application, cut into lines."""

    def __init__(self, name: str, log: Log) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self._name, self._log, self._rest = name, log, b""

    def drain(self) -> bool:
        """Takes what waits; False once nobody can write any more."""
        while True:
            try:
                data = os.read(self.read_end, READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                self.flush()
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._log.write(self._name, line, whole=True)
            while len(self._rest) > LINE_BYTES_MAX:
                self._log.write(self._name, self._rest[:LINE_BYTES_MAX], whole=False)
                self._rest = self._rest[LINE_BYTES_MAX:]

    def flush(self) -> None:
        """What is left has no end of line."""
        if self._rest:
            self._log.write(self._name, self._rest, whole=True)
        self._rest = b""


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    lock = os.open(spec["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _failed("there is a warden of this application already")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    log = Log(spec["logs"], spec["log_bytes"], spec["log_files"])
    streams = [Stream("stdout", log), Stream("stderr", log)]
    code = _make(spec["argv"], streams)
    if code != 0:
        return _failed(f"{os.path.basename(spec['argv'][0])} ended with status {code}")
    return _keep(spec, streams)


def _failed(why: str) -> int:
    _say(f"failed {why}")
    return 1


def _say(line: str) -> None:
    """Whoever started us may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


def _make(argv: list[str], streams: list[Stream]) -> int:
    """Runs what makes the container to its end, whose output is the application's."""
    child = os.fork()
    if child == 0:
        try:
            empty = os.open("/dev/null", os.O_RDONLY)
            for number, fd in enumerate((empty, *(stream.write_end for stream in streams))):
                os.dup2(fd, number)
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    handle = os.pidfd_open(child)
    ends = select.poll()
    for fd in (handle, *(stream.read_end for stream in streams)):
        ends.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in ends.poll()]
        for stream in streams:
            stream.drain()
        if handle in ready:
            break
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _keep(spec: dict[str, str], streams: list[Stream]) -> int:
    with open(spec["pid_file"], encoding="ascii") as file:
        pid = int(file.read())
    handle = os.pidfd_open(pid)
    _write(spec["warden"], {"pid": pid, "birth": _birth(pid), "warden": os.getpid()})
    _say(f"ready {pid}")
    empty = os.open("/dev/null", os.O_WRONLY)
    os.dup2(empty, 1)
    for stream in streams:
        os.close(stream.write_end)
    signal.signal(signal.SIGCHLD, lambda *_: _bury_others(pid))
    _bury_others(pid)
    _listen(handle, streams)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = _reap(pid)
    for stream in streams:
        stream.drain()
        stream.flush()
    _write(spec["exit"], {"pid": pid, "status": status, "at_s": time.time()})
    return 0


def _listen(handle: int, streams: list[Stream]) -> None:
    """Until the container's first process has ended: with it the kernel ends all others of its PID namespace."""
    ends = select.poll()
    ends.register(handle, select.POLLIN)
    for stream in streams:
        ends.register(stream.read_end, select.POLLIN)
    while True:
        ready = {fd for fd, _ in ends.poll()}
        for stream in streams:
            if stream.read_end in ready and not stream.drain():
                ends.unregister(stream.read_end)
        if handle in ready:
            return


def _bury_others(pid: int) -> None:
    """What the makers of the container left to us has ended, too: a restore leaves one such program."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != pid:
            os.waitpid(ended.si_pid, 0)


def _reap(pid: int) -> int | None:
    """How it ended: a status, or the number of a signal, negative; None where it was nobody's child of ours."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _birth(pid: int) -> str:
    """When it began, in the kernel's ticks: a number that is used again has another."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def _write(path: str, content: dict[str, object]) -> None:
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    sys.exit(main())
