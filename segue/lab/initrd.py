"""What the initial RAM disk of every lab guest begins with: its /init, busybox and the kernel's modules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.lab import cpio, kernel, packages

PACKAGES: Final = ("linux-image-cloud-amd64", "busybox-static", "zstd")
BUSYBOX: Final = "usr/bin/busybox"


def begin(root: Path, init: Path, modules: Sequence[str], folders: Sequence[str]) -> cpio.Archive:
    """`root` has to hold PACKAGES; `init` finds the modules in /modules, in the order of their names."""
    archive = cpio.Archive()
    for name in folders:
        archive.folder(name)
    archive.console("dev/console")
    archive.file("init", init.read_bytes(), 0o755)
    for number, (name, data) in enumerate(kernel.modules(root, modules).items()):
        archive.file(f"modules/{number:02}-{name}.ko", data)
    _add_busybox(archive, root)
    return archive


def _add_busybox(archive: cpio.Archive, root: Path) -> None:
    archive.file("bin/busybox", (root / BUSYBOX).read_bytes(), 0o755)
    packages.run_in(root, f"/{BUSYBOX}", "sh", "-c", f"/{BUSYBOX} --list >/tmp/applets")
    for name in (root / "tmp/applets").read_text(encoding="ascii").split():
        if name != "busybox":
            archive.link(f"bin/{name}", "busybox")
