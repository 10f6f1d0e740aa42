"""Says whether an application can move, from what it holds and what both hosts can do; it looks at neither itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from segue.model.belongings import Engine, Held, Holding

DEVICES: Final = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "net/tun")
)
"""Those that CRIU opens again on the other host (criu/files-reg.c, tun.c, tty.c)."""
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
}
MOUNTS: Final = frozenset(("mqueue", "autofs", "binfmt_misc", "fuse", "rpc_pipefs", "devtmpfs", "securityfs"))
REBUILT: Final = frozenset(("overlay",))
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
    match one.sort:
        case Holding.FILE:
            if one.what in FILES:
                yield f"{who} uses {FILES[one.what]}"
        case Holding.DEVICE:
            if one.what not in DEVICES and not one.what.startswith("/dev/pts/"):
                yield f"{who} has the device {one.what} open"
        case Holding.SOCKET:
            if one.what == "MPTCP":
                yield f"{who} speaks MPTCP; switch it off (a Go program: GODEBUG=multipathtcp=0)"
            elif one.what not in PROTOCOLS:
                yield f"{who} has a socket of a sort that cannot move ({one.what})"
        case Holding.WATCH:
            if one.what in REBUILT:
                yield f"{who} watches files of its root file system (inotify); it may watch those of a volume"
        case Holding.MOUNT:
            if one.what in MOUNTS or one.what.startswith("fuse."):
                yield f"it has a file system of type {one.what} at {one.place}"
        case Holding.TRACER:
            yield f"{who} is being traced by process {one.what}"


def _between(here: Engine, there: Engine) -> Iterator[str]:
    for engine, where in ((here, "this host"), (there, "the target")):
        if not engine.criu:
            yield f"{where} cannot move applications: {engine.fault}"
    if missing := sorted(here.cpu_flags - there.cpu_flags):
        yield f"the target's processor lacks what this one has: {', '.join(missing[:8])}"
