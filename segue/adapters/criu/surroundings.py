"""Looks at what an application's processes have around them: name spaces, groups that their network listens to, and who
their unix sockets speak to. It judges nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from segue.adapters.criu import unix_ends
from segue.model.belongings import Held, Holding

KINDS: Final = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time")
LOOPBACK: Final = "lo"
NOBODY: Final = unix_ends.End()
OWN: Final = ("224.0.0.1/32", "ff01::1/128", "ff02::1/128", "ff02::1:ff00:0/104")
"""Groups that the kernel joins for every card (RFC 1112, RFC 4291)."""


def of(cgroup: Path) -> Iterator[Held]:
    """Everything; nothing for processes that have all ended."""
    pids = _pids(cgroup)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        first = min(pids, key=_depth)
        yield from _spaces(first, pids)
        yield from groups(first, _lines(first, "igmp"), _lines(first, "igmp6"))
        if _ends(first, pids):  # A process that began meanwhile may hold the other end.
            yield from _ends(first, _pids(cgroup))


def _pids(cgroup: Path) -> tuple[int, ...]:
    return tuple(map(int, (cgroup / "cgroup.procs").read_text().split()))


def _depth(pid: int) -> tuple[int, int]:
    """The first process of the container is the lowest of all: whatever else it is in, number 1 of the least depth."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 1 << 30, 0
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), ["0"])
    return len(numbers), int(numbers[-1])


def _spaces(first: int, pids: Sequence[int]) -> Iterator[Held]:
    usual = {kind: os.readlink(f"/proc/{first}/ns/{kind}") for kind in KINDS if _has(first, kind)}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for kind, space in usual.items():
                if os.readlink(f"/proc/{pid}/ns/{kind}") != space:
                    yield Held(Holding.SPACE, kind, pid)


def _has(pid: int, kind: str) -> bool:
    return Path(f"/proc/{pid}/ns/{kind}").is_symlink()


def groups(pid: int, igmp: Sequence[str], igmp6: Sequence[str]) -> Iterator[Held]:
    """Those that somebody asked for, by the lines of /proc/net/igmp and igmp6."""
    own = [ipaddress.ip_network(each) for each in OWN]
    for card, group in (*_groups4(igmp), *_groups6(igmp6)):
        if card != LOOPBACK and not any(group in each for each in own):
            yield Held(Holding.GROUP, str(group), pid)


def _groups4(lines: Sequence[str]) -> Iterator[tuple[str, ipaddress.IPv4Address]]:
    """A line for each card, then one for each of its groups, in the machine's own order of bytes."""
    card = ""
    for line in lines[1:]:
        words = line.split()
        if line[:1].isspace():
            yield card, ipaddress.IPv4Address(bytes.fromhex(words[0])[::-1])
        else:
            card = words[1]


def _groups6(lines: Sequence[str]) -> Iterator[tuple[str, ipaddress.IPv6Address]]:
    for words in map(str.split, lines):
        yield words[1], ipaddress.IPv6Address(bytes.fromhex(words[2]))


def _lines(pid: int, name: str) -> list[str]:
    path = Path(f"/proc/{pid}/net/{name}")
    return path.read_text().splitlines() if path.exists() else []


def _ends(first: int, pids: Sequence[int]) -> list[Held]:
    """Unix sockets that speak to what none of these processes holds, or whose words wait for a listener."""
    known = unix_ends.ends(first)
    holders = {inode: pid for pid in pids for inode in _sockets(pid)}
    found = []
    for inode, pid in holders.items():
        end = known.get(inode, NOBODY)
        if end.peer and end.peer not in holders:
            found.append(Held(Holding.OUTSIDE, _name(pid, end.peer), pid))
        elif end.peer == 0 and end.unread_bytes:
            found.append(Held(Holding.CALL, "", pid))
    return found


def _sockets(pid: int) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                link = os.readlink(entry)
                if link.startswith("socket:["):
                    yield int(link[8:-1])


def _name(pid: int, inode: int) -> str:
    """The name to which a unix socket is bound; most are to none."""
    for line in _lines(pid, "unix")[1:]:
        words = line.split(maxsplit=7)
        if words[6] == str(inode):
            return words[7] if len(words) > 7 else ""
    return ""
