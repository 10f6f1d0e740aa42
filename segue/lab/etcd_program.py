"""Debian's etcd and etcdctl, unpacked once into the lab's cache; nothing is installed on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from segue.lab import cachefill, packages, rootfs

FREE_BYTES: Final = 300 * cachefill.MIB
PROGRAMS: Final = ("etcd", "etcdctl", "etcdutl")


def folder(cache: Path) -> Path:
    """Where they lie, or would lie. They are linked statically, so they run without the rest of their Debian."""
    return cache / f"etcd-tools-{rootfs.SUITE}"


def ensure(cache: Path, on_progress: cachefill.Progress) -> Path:
    """The folder with the programs."""

    def build(half: Path) -> None:
        packages.unpack(half / "tree", ["etcd-server", "etcd-client"])
        for name in PROGRAMS:
            shutil.move(half / "tree/usr/bin" / name, half / name)
        shutil.rmtree(half / "tree")

    return cachefill.ensure(
        folder(cache), build, free_bytes=FREE_BYTES, on_progress=on_progress, label="etcd (Debian packages)"
    )
