"""Says whether an application can move, from what it holds and what both hosts can do; it looks at neither itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from segue.model.belongings import GHOST_BYTES_MAX, Engine, Held, Holding

DEVICES: Final = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "ptmx", "net/tun")
)
"""Those that CRIU opens again on the other host (criu/files-reg.c, tun.c, tty.c). Not a shell's own
terminal (/dev/tty): it wants that and the terminal's other end in one process ("ctty inheritance")."""
PROTOCOLS: Final = frozenset(
    ("TCP", "TCPv6", "UDP", "UDPv6", "UDP-Lite", "UDPLITEv6", "RAW", "RAWv6", "PING", "PINGv6")
) | frozenset(("UNIX", "UNIX-STREAM", "NETLINK", "PACKET"))
"""Sockets that CRIU dumps, by the name that the kernel has for their protocol."""
FILES: Final = {
    "anon_inode:[io_uring]": "io_uring, which cannot move; switch it off where the program can do without",
    "anon_inode:[userfaultfd]": "userfaultfd",
    "anon_inode:[perf_event]": "a performance counter",
    "anon_inode:[fanotify]": "fanotify",
    "anon_inode:kvm-vm": "a virtual machine (KVM)",
    "anon_inode:kvm-vcpu:0": "a virtual machine (KVM)",
    "anon_inode:bpf-map": "a BPF map",
    "anon_inode:bpf-prog": "a BPF program",
    "anon_inode:seccomp notify": "a filter of system calls that asks it (seccomp)",
    "anon_inode:[eventfd] semaphore": "an eventfd as a semaphore, which CRIU would make an ordinary one",
    "/secretmem (deleted)": "memory that only it may read (memfd_secret)",
}
ANONYMOUS: Final = "anon_inode:"
KNOWN: Final = frozenset(
    f"anon_inode:{n}" for n in ("[eventfd]", "[timerfd]", "[signalfd]", "[pidfd]", "[eventpoll]")
)
"""Those that CRIU makes anew."""
MOUNTS: Final = frozenset(("mqueue", "autofs", "binfmt_misc", "fuse", "rpc_pipefs", "devtmpfs", "securityfs"))
REBUILT: Final = {"overlay": "files of its root file system", "proc": "files of /proc"}
"""File systems that are mounted anew on the other host: an inotify watch does not find its file there again."""


def obstacles(held: Iterable[Held]) -> tuple[str, ...]:
    """Every reason why these processes cannot move; none means that nothing is known against it."""
    return tuple(dict.fromkeys(reason for one in sorted(held) for reason in _about(one)))


def between(here: Engine, there: Engine) -> tuple[str, ...]:
    """Every reason why an application of one host cannot be taken up on the other."""
    return tuple(_between(here, there))


def memory_way(there: Engine) -> str:
    """How an application's memory goes to a host; for people."""
    if there.by_place:
        return "memory goes in rounds before the application stands, and what is new by then while it stands"
    return "all memory is copied while the application stands: the target's agent knows no other way"


def _about(one: Held) -> Iterator[str]:
    who = f"process {one.pid}"
    yield from _about_files(one, who)
    yield from _about_talk(one, who)
    match one.sort:
        case Holding.DEVICE:
            if one.what not in DEVICES and not one.what.startswith("/dev/pts/"):
                yield f"{who} has the device {one.what} open"
        case Holding.MOUNT:
            if one.what in MOUNTS or one.what.startswith("fuse."):
                yield f"it has a file system of type {one.what} at {one.place}"
        case Holding.TRACER:
            yield f"{who} is being traced by process {one.what}"
        case Holding.SPACE:
            yield f"{who} has a name space of its own ({one.what})"
        case Holding.LEADERLESS:
            yield f"{who} goes on without its first thread"


def _about_files(one: Held, who: str) -> Iterator[str]:
    match one.sort:
        case Holding.FILE:
            if one.what in FILES:
                yield f"{who} uses {FILES[one.what]}"
            elif one.what.startswith(ANONYMOUS) and one.what not in KNOWN:
                yield f"{who} has something open that cannot move ({one.what.removeprefix(ANONYMOUS)})"
        case Holding.WATCH:
            if one.what in REBUILT:
                yield f"{who} watches {REBUILT[one.what]} (inotify); it may watch those of a volume"
        case Holding.POLL:
            yield f"{who} waits by epoll for descriptor {one.what}, which it has closed, though it is open elsewhere"
        case Holding.ELSEWHERE:
            yield f"{who} has {one.what} open, of a file system that is not mounted in it (a message queue, perhaps)"
        case Holding.DELETED:
            if one.bytes > GHOST_BYTES_MAX:
                size = f"{one.bytes >> 20} MiB, and {GHOST_BYTES_MAX >> 20} can go along"
                yield f"{who} has a deleted file open ({one.what}): {size}"
        case Holding.UNNAMED:
            yield (
                f"{who} uses {one.what}, which was deleted or replaced though its content is kept elsewhere (in the "
                "image, or under another name): restart what uses it"
            )


def _about_talk(one: Held, who: str) -> Iterator[str]:
    match one.sort:
        case Holding.SOCKET:
            if one.what == "MPTCP":
                yield f"{who} speaks MPTCP; switch it off (a Go program: GODEBUG=multipathtcp=0)"
            elif one.what not in PROTOCOLS:
                yield f"{who} has a socket of a sort that cannot move ({one.what})"
        case Holding.OUTSIDE:
            name = f" ({one.what})" if one.what else ""
            yield f"{who} is connected to a program outside by a unix socket{name}"
        case Holding.CALL:
            yield f"{who} has written to a unix socket whose listener has not accepted it"
        case Holding.GROUP:
            yield f"it listens to the multicast group {one.what}, which CRIU would not join again"
        case Holding.PACKETS:
            yield f"{who} has a pipe that keeps packets apart (O_DIRECT)"


def _between(here: Engine, there: Engine) -> Iterator[str]:
    for engine, where in ((here, "this host"), (there, "the target")):
        if not engine.criu:
            yield f"{where} cannot move applications: {engine.fault}"
    if missing := sorted(here.cpu_flags - there.cpu_flags):
        yield f"the target's processor lacks what this one has: {', '.join(missing[:8])}"
