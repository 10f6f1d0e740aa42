"""Fetch Debian 13 packages into a folder and run the tools in them there; nothing is installed on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused

SUITE: Final = "trixie"
"""Debian 13."""

BUILD_LIMIT_S: Final = 1200.0
"""Far more than the 5 to 60 s that a build takes here: a slow mirror is not an error, a dead one is."""


def unpack(root: Path, packages: Sequence[str]) -> None:
    """Put the packages and all they depend on into `root`, unpacked but not configured."""
    _mmdebstrap(["--variant=extract", f"--include={','.join(packages)}", SUITE, str(root)])
    for name in ("bin", "sbin", "lib", "lib64"):
        # The packages expect a merged /usr, which only a configured base system makes.
        (root / name).symlink_to(f"usr/{name}")


def install(root: Path, packages: Sequence[str], options: Sequence[str] = ()) -> None:
    """Make `root` a bootable Debian of the smallest kind with the packages installed and configured."""
    _mmdebstrap(
        ["--variant=minbase", f"--include={','.join(packages)}", *options, SUITE, str(root)],
    )


def run_in(root: Path, *command: str) -> str:
    """Run a program of `root` with that root as its world, and return what it printed."""
    return _run(["chroot", str(root), *command], what=f"{command[0]} failed while building a guest image")


def _mmdebstrap(arguments: Sequence[str]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise Refused(
            what="cannot build a guest image",
            why="the program mmdebstrap is not on this machine",
            todo="Install it: `apt install mmdebstrap`.",
            kind=Kind.NOT_FOUND,
        )
    _run(["mmdebstrap", "--quiet", *arguments], what="cannot fetch the packages of a guest image")


def _run(command: Sequence[str], what: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(
            what=what,
            why=f"{command[0]} did not end within {BUILD_LIMIT_S:.0f} s",
            todo="Check that this machine reaches a Debian mirror, and try again.",
            kind=Kind.TIMEOUT,
        ) from error
    except subprocess.CalledProcessError as error:
        raise Refused(
            what=what,
            why=f"{command[0]} said: {_last_words(str(error.stderr))}",
            todo="Check that this machine reaches a Debian mirror and has room on its disk, and try again.",
            kind=Kind.UNREACHABLE,
        ) from error
    return done.stdout


def _last_words(stderr: str) -> str:
    """The lines that name an error, or else the last ones; a package manager says much before the point."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return "; ".join((errors or lines)[-3:]) or "nothing"
