"""`make faults SEEDS=n`: random faults in real migrations, one for each seed; exit status 1 if one did harm."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from faults import cases, play, report
from faults.app_stage import AppStage
from faults.cases import APPLICATION, Case
from faults.stage import Stage
from segue import __version__
from segue.errors import SegueError

FAILURES = (SegueError, AssertionError, OSError, subprocess.SubprocessError, ValueError)


def main() -> int:
    """Plays all of them in one lab; one that did harm gets the next one a new lab."""
    options = _options()
    _end_politely()
    console = Console(stderr=True, highlight=False)
    seeds = options.seed or range(options.first, options.first + options.seeds)
    # A guest is made for each kind of disk, so the cases of one kind come one after the other.
    chosen = sorted((cases.of_seed(seed) for seed in seeds), key=lambda case: (case.disk, case.seed))
    if options.list:
        for case in chosen:
            sys.stdout.write(f"{case.seed:6} {case}\n")
        return 0
    outcomes = _play_all(chosen, console, options.out)
    found = report.verdicts(outcomes, len(chosen))
    out = Console(highlight=False)
    out.print(report.faults_table(outcomes))
    out.print(report.verdict_table(found))
    return 0 if all(verdict["holds"] for verdict in found) else 1


def _end_politely() -> None:
    """On SIGTERM the lab is taken down. A child that a library forked has this handler, too, and must end."""
    own = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != own:
            os._exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many cases")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, nargs="*", help="only these seeds, to play a case again")
    parser.add_argument("--list", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--out", type=Path, default=report.PLACE, help="the report, JSON")
    return parser.parse_args()


def _play_all(chosen: list[Case], console: Console, place: Path) -> list[report.Outcome]:
    stage: Stage | AppStage = Stage(f"faults{os.getpid()}")
    outcomes: list[report.Outcome] = []
    surroundings: dict[str, Any] = {}
    try:
        for number, case in enumerate(chosen, 1):
            console.print(f"{number}/{len(chosen)} seed {case.seed}: {case}", soft_wrap=True)
            stage = _stage_for(stage, case)
            outcomes.append(_play(stage, case))
            surroundings = surroundings or _surroundings(stage)
            report.write(outcomes, len(chosen), surroundings, place)
            console.print(f"    {_in_words(outcomes[-1])}", soft_wrap=True)
            if report.is_bad(outcomes[-1]):
                stage.down()
    except KeyboardInterrupt:
        console.print(f"Cut off; what was played is in {place}.")
    finally:
        stage.down()
    return outcomes


def _stage_for(stage: Stage | AppStage, case: Case) -> Stage | AppStage:
    """Machines and applications have labs of their own, one at a time."""
    kind = AppStage if case.disk == APPLICATION else Stage
    if isinstance(stage, kind):
        return stage
    stage.down()
    return kind(f"faults{os.getpid()}")


def _play(stage: Stage | AppStage, case: Case) -> report.Outcome:
    try:
        if not stage.is_up:
            stage.kind = case.disk
            stage.up()
        return play.play(stage, case)
    except FAILURES as error:
        return {"seed": case.seed, "case": str(case), "error": f"{type(error).__name__}: {error}"}


def _surroundings(stage: Stage | AppStage) -> dict[str, Any]:
    facts = stage.call("host1", "GET", "/host") if stage.is_up else {}
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "memory_bytes": memory_bytes,
            "accelerator": facts.get("accelerator"),
        },
        "versions": {
            "segue": __version__,
            "qemu": facts.get("qemu_version"),
            "python": platform.python_version(),
        },
    }


def _in_words(outcome: report.Outcome) -> str:
    if "error" in outcome:
        return f"not played: {outcome['error']}"
    words = [f"{outcome.get('ended', 'no record')} in {outcome['took_s']} s"]
    if not outcome["hit"]:
        words.append("nothing to hit")
    if outcome["crashed_on"]:
        words.append(f"crashed on {outcome['crashed_on']}, started again")
    if outcome.get("stood_s"):
        words.append(f"stood {outcome['stood_s']} s")
    words += [f"disk {outcome.get('disk_blocks', 'silent')}", f"memory {outcome.get('memory', 'silent')}"]
    if report.is_bad(outcome):
        keys = ("lost", "double_runs", "corrupt_blocks", "wrong_pages", "leftovers", "broken_connections")
        words.append(f"BAD: { {key: outcome.get(key) for key in keys if outcome.get(key)} }")
    return ", ".join(words)


if __name__ == "__main__":
    sys.exit(main())
