"""Debian 13's etcd, unpacked once into the lab's cache; nothing is installed on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from segue.lab import cachefill, packages, places

FREE_BYTES = 200 * cachefill.MIB


def ensure() -> Path:
    """The program. It is linked statically, so it runs without the rest of its Debian."""

    def build(half: Path) -> None:
        packages.unpack(half / "tree", ["etcd-server"])
        shutil.move(half / "tree/usr/bin/etcd", half / "etcd")
        shutil.rmtree(half / "tree")

    final = places.cache() / "etcd-trixie"
    return (
        cachefill.ensure(
            final, build, free_bytes=FREE_BYTES, on_progress=print, label="etcd (a Debian package)"
        )
        / "etcd"
    )
