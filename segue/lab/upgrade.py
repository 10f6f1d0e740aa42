"""Installs another QEMU on a host of a lab that runs, as a package manager would: what runs there goes on as it is.

It must never touch what a running program has open: every file is put in its place by a rename.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused
from segue.lab import cachefill, rootfs

STATUS: Final = "var/lib/dpkg/status"
INFO: Final = "var/lib/dpkg/info"
HALF: Final = ".segue-new"
DEBIAN: Final = "debian"
"""Debian 13's own, which rootfs.QEMUS has under the empty name."""


def install(root: Path, cache: Path, qemu: str, say: cachefill.Progress) -> list[str]:
    """Gives the file system at `root` the packages that the hosts with that QEMU have; names those that changed.

    qemu: `debian`, or a name of rootfs.QEMUS. Raises Refused for another.
    """
    name = "" if qemu == DEBIAN else qemu
    if name not in rootfs.QEMUS or not qemu:
        known = [DEBIAN, *filter(None, rootfs.QEMUS)]
        raise Refused(
            what=f"QEMU {qemu} is not installed",
            why="the lab knows no such one",
            todo=f"Choose {' or '.join(known)}.",
            kind=Kind.USAGE,
        )
    image = rootfs.ensure(cache, say, (), name)
    here, there = _packages(root), _packages(image)
    changed = [
        package for package, text in there.items() if _version(here.get(package, "")) != _version(text)
    ]
    for package in changed:
        for path in _files(image, package):
            _replace(image / path, root / path)
        here[package] = there[package]
    _write(root / STATUS, "\n".join(here.values()))
    return changed


def _packages(root: Path) -> dict[str, str]:
    """Package -> what the package manager knows of it."""
    found = (root / STATUS).read_text(encoding="utf-8")
    texts = [f"{text.strip()}\n" for text in found.split("\n\n") if text.strip()]
    return {text.split("\n", 1)[0].removeprefix("Package: "): text for text in texts}


def _version(text: str) -> str:
    found = re.search(r"^Version: (.+)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def _files(image: Path, package: str) -> Iterator[str]:
    """All that belongs to it, and what the package manager keeps of it."""
    for kept in (*(image / INFO).glob(f"{package}.*"), *(image / INFO).glob(f"{package}:*")):
        yield str(kept.relative_to(image))
        if kept.suffix != ".list":
            continue
        for line in kept.read_text(encoding="utf-8").splitlines():
            path = line.lstrip("/")
            if path and ((image / path).is_symlink() or (image / path).is_file()):
                yield path


def _replace(new: Path, old: Path) -> None:
    old.parent.mkdir(parents=True, exist_ok=True)
    half = old.with_name(old.name + HALF)
    half.unlink(missing_ok=True)
    if new.is_symlink():
        half.symlink_to(os.readlink(new))
    else:
        shutil.copy2(new, half)
    half.replace(old)


def _write(path: Path, text: str) -> None:
    half = path.with_name(path.name + HALF)
    half.write_text(text, encoding="utf-8")
    half.replace(path)
