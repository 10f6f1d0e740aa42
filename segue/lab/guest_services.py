"""Compile the lab guests' own services: one static program, the same in every image."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segue.lab import packages

PACKAGES: Final = ("gcc", "libc6-dev")
SOURCES: Final = Path(__file__).parent / "guest" / "services"


def program(root: Path) -> bytes:
    """The program, compiled in `root`, which has to hold PACKAGES."""
    folder = root / "tmp" / "services"
    folder.mkdir()
    for path in SOURCES.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    sources = sorted(f"/tmp/services/{path.name}" for path in SOURCES.glob("*.c"))
    packages.run_in(
        root, "/usr/bin/gcc", "-O2", "-static", "-Wall", "-Werror", "-o", "/tmp/segue-guest", *sources
    )
    return (root / "tmp/segue-guest").read_bytes()
