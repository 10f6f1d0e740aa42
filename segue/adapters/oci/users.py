"""Users of an image by their names. Only numbers go to the runtime, so that both hosts mean the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from segue.errors import Kind, Refused

FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class User:
    """As the kernel knows a user."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def find(rootfs: Path, text: str) -> User:
    """`text`: USER or USER:GROUP, names or numbers. Raises Refused for one that the image does not have."""
    name, _, group = text.partition(":")
    passwd, groups = _table(rootfs, "passwd"), _table(rootfs, "group")
    line = next((one for one in passwd if len(one) > 3 and name in (one[0], one[2])), None)
    if line is None and not name.isdecimal():
        raise _unknown(text, f"its /etc/passwd has no {name}")
    uid, gid = (int(line[2]), int(line[3])) if line else (int(name), 0)
    more = [int(one[2]) for one in groups if line and len(one) > 3 and line[0] in one[3].split(",")]
    if group:
        gid, more = _group(groups, group, text), []
    return User(uid, gid, tuple(sorted(set(more) - {gid})))


def _group(groups: list[list[str]], name: str, text: str) -> int:
    if name.isdecimal():
        return int(name)
    for one in groups:
        if len(one) > 2 and one[0] == name:
            return int(one[2])
    raise _unknown(text, f"its /etc/group has no {name}")


def _table(rootfs: Path, name: str) -> list[list[str]]:
    """The image comes from a stranger: a link in it could lead to any file of the host."""
    try:
        etc = os.open(rootfs / "etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return []
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=etc), "rb") as file:
            text = file.read(FILE_BYTES_MAX).decode(errors="replace")
    except OSError:
        return []
    finally:
        os.close(etc)
    return [line.split(":") for line in text.splitlines()]


def _unknown(text: str, why: str) -> Refused:
    return Refused(
        what=f"there is no user {text} in this image",
        why=why,
        todo="Give a user of the image, or numbers: --user 1000:1000.",
        kind=Kind.USAGE,
    )
