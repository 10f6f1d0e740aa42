"""The code of an earlier version, out of the checkout's own history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from segue.lab import layers

PARTS: Final = ("segue", "pyproject.toml", "requirements.lock")


def code_of(commit: str, tree: Path) -> Path:
    """`tree`, with what that commit had. The test is skipped where the history does not go so far."""
    found = subprocess.run(
        ["git", "-C", str(layers.package().parent), "archive", commit, *PARTS],
        capture_output=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip(f"the history has no commit {commit}: a shallow clone, or no checkout")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree
