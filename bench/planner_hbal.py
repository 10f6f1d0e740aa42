"""Ganeti's hbal: asked for moves of its own, and as the judge of any placement. It never changes a cluster here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = "hbal"
SCORE: Final = re.compile(r"^Initial score: ([\d.]+)|^Initial coefficients: overall ([\d.]+)", re.MULTILINE)
STEP: Final = re.compile(r"^\s*\d+\. (\S+)\s+\S+\s+=> (\S+)\s+([\d.]+)", re.MULTILINE)
JUDGE_S: Final = 120.0


def available() -> bool:
    """True where it is installed: Debian's ganeti-htools."""
    return shutil.which(PROGRAM) is not None


def version() -> str:
    """As it says itself."""
    found = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return found.splitlines()[0]


def score(data: Path, loads: Path | None) -> float:
    """hbal's own score of a placement."""
    found = _run([*_input(data, loads), "-l", "0", "-v"], JUDGE_S)
    match = SCORE.search(found["text"])
    if not match:
        raise RuntimeError(f"hbal gave no score: {found['text'][-400:]}")
    return float(match[1] or match[2])


def moves(data: Path, loads: Path | None, most: int, only: str, within_s: float) -> dict[str, Any]:
    """Up to `most` of its own moves, of one guest alone if `only` names it; scores as it prints them."""
    chosen = ["--select-instances", only] if only else []
    found = _run([*_input(data, loads), "-l", str(most), "-v", *chosen], within_s)
    steps = STEP.findall(found.pop("text"))
    return {
        **found,
        "moves": len(steps),
        "score_after": float(steps[-1][2]) if steps else None,
        "scores": [float(step[2]) for step in steps],
    }


def _input(data: Path, loads: Path | None) -> list[str]:
    return ["-t", str(data), *(["-U", str(loads)] if loads else [])]


def _run(arguments: list[str], within_s: float) -> dict[str, Any]:
    """Its output, its time and its memory; one that takes too long is ended, and said to be."""
    with tempfile.TemporaryFile("w+") as out:
        begun_s = time.perf_counter()
        child = subprocess.Popen([PROGRAM, *arguments], stdout=out, stderr=subprocess.STDOUT)
        timer = threading.Timer(within_s, child.kill)
        timer.start()
        _, status, used = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return {
            "text": out.read(),
            "ended": child.returncode == 0,
            "wall_s": time.perf_counter() - begun_s,
            "cpu_s": used.ru_utime + used.ru_stime,
            "peak_bytes": used.ru_maxrss * 1024,
        }
