"""Fetch Debian 13 packages into a folder and run their programs there; installs nothing on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from segue.errors import Kind, Refused
from segue.lab import rootfs


def unpack(root: Path, packages: Sequence[str]) -> None:
    """Put the packages and all they depend on into `root`, unpacked but not configured."""
    _mmdebstrap(root, ["--variant=extract", f"--include={','.join(packages)}"])
    for name in ("bin", "sbin", "lib", "lib64"):
        # The programs expect a merged /usr, which only a configured base system makes.
        (root / name).symlink_to(f"usr/{name}")


def install(root: Path, packages: Sequence[str]) -> None:
    """Make `root` a Debian of the smallest kind with the packages installed and configured."""
    _mmdebstrap(root, [f"--include={','.join(packages)}", *rootfs.OPTIONS])


def run_in(root: Path, *command: str) -> None:
    """Run a program of `root` with that folder as its whole world."""
    name = Path(command[0]).name
    rootfs.run_alone(["chroot", str(root), *command], what=f"cannot build a guest image: {name} failed")


def _mmdebstrap(root: Path, arguments: Sequence[str]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise Refused(
            what="cannot build a guest image",
            why="the program mmdebstrap is not on this machine",
            todo="Install it: `apt-get install mmdebstrap`.",
            kind=Kind.NOT_FOUND,
        )
    command = ["mmdebstrap", "--mode=root", "--quiet", *arguments, rootfs.SUITE, str(root)]
    rootfs.run_alone(command, what="cannot fetch the packages of a guest image")
