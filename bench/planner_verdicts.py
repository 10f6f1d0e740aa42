"""What was promised of the planners, and whether the samples show it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Sample = dict[str, Any]
Samples = list[Sample]
SCORE_RATIO: Final = 1.01
GAIN_RATIO: Final = 0.99
TIME_RATIO: Final = 0.01
CONVERGED_S: Final = 10.0
PEAK_BYTES: Final = 1e9
MAKESPAN_RATIO: Final = 1.3
LARGEST: Final = 4000
SMALLEST: Final = 100


def of_samples(samples: Samples) -> list[dict[str, Any]]:
    """All verdicts that these samples allow; each is its worst sample."""
    return [*_against_hbal(samples), *_one_guest(samples), *_converged(samples), *_drained(samples)]


def pairs(samples: Samples, task: str) -> Iterator[tuple[Sample, Sample]]:
    """(segue's, hbal's) of one cluster, after the same number of moves."""
    for theirs in samples:
        if theirs["planner"] != "hbal" or theirs["task"] != task or not theirs["ended"]:
            continue
        for ours in samples:
            same = all(ours[key] == theirs[key] for key in ("task", "hosts", "seed", "moves"))
            if ours["planner"] == "segue" and same:
                yield ours, theirs


def _against_hbal(samples: Samples) -> Iterator[dict[str, Any]]:
    found = [(a, b) for a, b in pairs(samples, "moves") if a["hosts"] == SMALLEST]
    if not found:
        return
    moves = found[0][0]["moves"]
    score = max(ours["score_after"] / theirs["score_after"] for ours, theirs in found)
    took = max(ours["process_cpu_s"] / theirs["cpu_s"] for ours, theirs in found)
    name = f"{SMALLEST} hosts, {moves} moves"
    yield _verdict(f"{name}: hbal's score against hbal's own moves", SCORE_RATIO, round(score, 5), "times")
    yield _verdict(f"{name}: processor time against hbal", TIME_RATIO, round(took, 6), "times")


def _one_guest(samples: Samples) -> Iterator[dict[str, Any]]:
    for hosts in sorted({sample["hosts"] for sample in samples}):
        found = [(a, b) for a, b in pairs(samples, "one guest") if a["hosts"] == hosts]
        if found:
            gain = min(_gain(ours) / _gain(theirs) for ours, theirs in found)
            name = (
                f"{hosts} hosts, a host for one guest: by how much hbal's score falls, against hbal's choice"
            )
            yield _verdict(name, GAIN_RATIO, round(gain, 5), "times", at_least=True)


def _gain(sample: Sample) -> float:
    return float(sample["score_before"] - sample["score_after"])


def _converged(samples: Samples) -> Iterator[dict[str, Any]]:
    found = [s for s in samples if s["task"] in {"converge", "loaded"} and s["hosts"] == LARGEST]
    if found:
        name = f"{LARGEST} hosts, {found[0]['guests']} guests, to convergence"
        yield _verdict(f"{name}: time", CONVERGED_S, round(max(s["plan_s"] for s in found), 2), "s")
        peak = max(s["peak_bytes"] for s in found) / 1e6
        yield _verdict(f"{name}: peak memory", PEAK_BYTES / 1e6, round(peak, 1), "MB")


def _drained(samples: Samples) -> Iterator[dict[str, Any]]:
    found = [s for s in samples if s["task"] == "drain"]
    if found:
        ratio = max(s["makespan_s"] / s["link_s"] for s in found)
        yield _verdict(
            "drain of a rack: planned time against bytes by link", MAKESPAN_RATIO, round(ratio, 4), "times"
        )
        yield _verdict("drain of a rack: guests that stay", 0, sum(s["staying"] for s in found), "guests")


def _verdict(name: str, target: float, value: float, unit: str, *, at_least: bool = False) -> dict[str, Any]:
    holds = value >= target if at_least else value <= target
    return {"name": name, "target": target, "value": value, "unit": unit, "holds": holds}
