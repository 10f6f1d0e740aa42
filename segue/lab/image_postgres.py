"""The recipe of the guest `postgres`: the guest `debian` with a PostgreSQL whose data can lie on a second disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from segue.lab import cachefill, image_debian

PACKAGES: Final = (*image_debian.PACKAGES, "e2fsprogs", "postgresql-17")
DISK_BYTES: Final = 2048 * cachefill.MIB

FREE_BYTES: Final = image_debian.FREE_BYTES + 1200 * cachefill.MIB
"""PostgreSQL with its compiler for queries takes 350 MiB, and the same again inside the disk."""

DESCRIPTION: Final[dict[str, Any]] = {
    **image_debian.DESCRIPTION,
    "name": "postgres",
    "services": {**image_debian.DESCRIPTION["services"], "postgresql": 5432},
}


def build(root: Path, out: Path, files: Path) -> None:
    """Make the image in `out`; `root` is a folder to work in, `files` are those of this guest alone."""
    debian = files.parent / "debian"
    image_debian.build_with(root, out, debian, PACKAGES, [files / "finish"], DISK_BYTES)
