"""Runs one program inside a lab machine and behaves as if it were that program; standard library only.

Started as `python -S -m segue.lab.enter PID CGROUP COMMAND...`. The nsenter of util-linux would not do: it
passes no signals on, does not join the cgroup, and leaves the program behind when it is killed itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.lab import syscalls

# The mount namespace comes last: after it the machine's /proc is out of reach.
NAMESPACES: Final = ("uts", "ipc", "net", "pid", "mnt")
PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
SI_USER: Final = 0


def main() -> int:
    pid, cgroup, *argv = sys.argv[1:]
    # Blocked from here on, so that no signal falls between the fork and the wait.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    try:
        _join(int(pid), cgroup)
    except OSError as error:
        print(f"cannot enter the machine of process {pid}: {error}", file=sys.stderr)
        return 125
    child = os.fork()
    if child == 0:
        _become(argv, mask)
    return _follow(child)


def _join(pid: int, cgroup: str) -> None:
    names: tuple[str, ...] = NAMESPACES
    if cgroup:
        Path(cgroup, "cgroup.procs").write_text("0", encoding="ascii")
        names = ("cgroup", *NAMESPACES)
    fds = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in names]
    for fd in fds:
        syscalls.setns(fd)


def _become(argv: Sequence[str], mask: set[int | signal.Signals]) -> None:
    """Never returns: the program takes over, or the process ends as a shell would."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Python ignores this one, and a program would inherit that: `yes | head` would never end.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.environ.pop("PYTHONPATH", None)
        os.chdir("/root")
        os.execvp(argv[0], list(argv))
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _follow(child: int) -> int:
    while True:
        seen = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD})
        if seen.si_signo != signal.SIGCHLD:
            # A terminal's signals come from the kernel and go to the whole group, the program among them.
            if seen.si_code <= SI_USER:
                os.kill(child, seen.si_signo)
            continue
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _end_like(status)


def _end_like(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
