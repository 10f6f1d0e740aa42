"""What a user types in a lab: the real command, with the lab's context."""

from __future__ import annotations

import os
import subprocess
import sys

from segue.lab.api import Lab


def run(lab: Lab, *words: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """However it ends."""
    environ = {**os.environ, "SEGUE_CONTEXT": str(lab.places.context), "COLUMNS": "200"}
    argv = [sys.executable, "-m", "segue", *words]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=timeout_s)


def segue(lab: Lab, *words: str, status: int = 0, timeout_s: float = 60.0) -> str:
    """It must end with that status. What it wrote; where that is no success, with what it complained about."""
    done = run(lab, *words, timeout_s=timeout_s)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done.stdout + (done.stderr if status else "")
