"""Mounts an application's root file system and takes it away; the mount outlives the agent."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from segue.errors import Refused

MNT_DETACH: Final = 2
MS_BIND: Final = 4096
MS_NODEV: Final = 4
EINVAL: Final = 22

_libc = ctypes.CDLL(None, use_errno=True)


def overlay(lower: Path, upper: Path, work: Path, where: Path) -> None:
    """What the application writes lies in `upper`; safe to repeat. Raises Refused with the kernel's word."""
    for folder in (upper, work, where):
        folder.mkdir(parents=True, exist_ok=True)
    if where.is_mount():
        return
    # A copy of `upper` on another host has other inode numbers: the kernel must not compare them with an index.
    options = (
        f"lowerdir={_escaped(lower)},upperdir={_escaped(upper)},workdir={_escaped(work)},index=off,xino=off"
    )
    try:
        _mount("segue-app", where, "overlay", MS_NODEV, options)
    except OSError as error:
        raise Refused(
            what=f"the root file system at {where} cannot be mounted",
            why=f"the kernel refused the overlay: {error.strerror}",
            todo=f"{upper.parent} has to lie on ext4, xfs, btrfs or tmpfs: set apps_dir in agent.toml to such a place.",
        ) from error


def detach(where: Path) -> None:
    """Takes the mount away; one that is not there is no error."""
    if _libc.umount2(str(where).encode(), MNT_DETACH) != 0:
        number = ctypes.get_errno()
        if number not in {EINVAL, 2}:
            raise OSError(number, os.strerror(number), str(where))


def bind(source: str, where: Path) -> None:
    """The same file at another place."""
    _mount(source, where, "", MS_BIND, "")


def _mount(source: str, where: Path, kind: str, flags: int, options: str) -> None:
    result = _libc.mount(
        source.encode(), str(where).encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )  # fmt: skip
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(where))


def _escaped(path: Path) -> str:
    """overlayfs splits its options at commas and its layers at colons."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
