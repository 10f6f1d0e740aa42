"""Puts a finished folder into the cache or nothing at all, however many build it and whenever they die."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.errors import Refused

Progress = Callable[[str], None]
MIB = 1 << 20


def ensure(
    final: Path, build: Callable[[Path], None], *, free_bytes: int, on_progress: Progress, label: str
) -> Path:
    """Return `final`, built first if it is missing.

    The folder appears under its name by one rename after `build` returned, so what has the name is complete.
    """
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(final, on_progress, label):
        if final.is_dir():
            return final
        _remove_abandoned(final)
        require_space(final.parent, free_bytes, what=f"cannot build {label}")
        on_progress(f"building {label}")
        half = Path(tempfile.mkdtemp(prefix=_half_prefix(final), dir=final.parent))
        half.chmod(0o755)
        try:
            build(half)
            os.rename(half, final)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    return final


def require_space(folder: Path, free_bytes: int, *, what: str) -> None:
    """Refuse before the work, not in the middle of it."""
    free = shutil.disk_usage(folder).free
    if free < free_bytes:
        raise Refused(
            what=what,
            why=f"{folder} has {free // MIB} MiB free and {free_bytes // MIB} MiB are needed",
            todo="Free some space, or put SEGUE_LAB_DIR and SEGUE_LAB_CACHE on a larger disk.",
        )


def _family(final: Path) -> str:
    """What all versions of one thing share: `base-0123` and `base-4567` have one lock."""
    return final.name.rpartition("-")[0] or final.name


def _half_prefix(final: Path) -> str:
    return f".half-{_family(final)}-"


@contextmanager
def _only_builder(final: Path, on_progress: Progress, label: str) -> Iterator[None]:
    """A second builder waits and then finds the work done; the lock dies with its holder."""
    with (final.parent / f".lock-{_family(final)}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(f"waiting for another command that builds {label}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned(final: Path) -> None:
    """Whoever holds the lock may: no living builder works in these."""
    for path in final.parent.glob(f"{_half_prefix(final)}*"):
        shutil.rmtree(path, ignore_errors=True)
