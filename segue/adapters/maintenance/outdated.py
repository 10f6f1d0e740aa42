"""Finds what still runs from before an update: the kernel, the first process, a program whose files were replaced.

Packages replace files; what runs keeps the old ones until it is started anew. It reads, and restarts nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

GONE: Final = " (deleted)"
OF_PACKAGES: Final = ("/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/")
"""Elsewhere programs make files of their own, and delete them while they use them."""


def reboot_wanted(root: Path = Path("/")) -> str:
    """Why only a reboot brings what is installed into use; empty where that is not so."""
    if newer := newer_kernel(root):
        return f"the kernel {newer} is installed, and another one runs"
    if files := replaced_files(1, root):
        return f"the first process uses files that were replaced: {', '.join(files[:3])}"
    return ""


def newer_kernel(root: Path = Path("/")) -> str:
    """The newest installed kernel, where an older one of those that are installed runs."""
    try:
        running = (root / "proc/sys/kernel/osrelease").read_text().strip()
    except OSError:
        return ""
    installed = [path.name.partition("-")[2] for path in (root / "boot").glob("vmlinuz-*")]
    if running not in installed:  # A container, or a kernel that did not come by a package.
        return ""
    newest = max(installed, key=_by_version)
    return newest if newest != running else ""


def replaced_files(pid: int, root: Path = Path("/")) -> list[str]:
    """Programs and libraries of packages that a process has mapped and that are not the installed ones any more."""
    try:
        maps = (root / f"proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return []
    names = {line.split(maxsplit=5)[5] for line in maps if line.endswith(GONE)}
    return sorted(name.removesuffix(GONE) for name in names if name.startswith(OF_PACKAGES))


def _by_version(name: str) -> tuple[tuple[int, str], ...]:
    """6.12.9 comes before 6.12.10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name))
