"""What the samples are held against."""

from __future__ import annotations

from typing import Any

import pytest

from bench import verdicts
from bench.figures import Samples
from tests.bench import samples


def verdict(all_samples: Samples, name: str) -> dict[str, Any]:
    found = [each for each in verdicts.of_samples(all_samples) if each["name"].startswith(name)]
    assert len(found) == 1, [each["name"] for each in verdicts.of_samples(all_samples)]
    return found[0]


def idle(ours: list[float | None], **more: Any) -> Samples:
    return [
        *samples.series("idle-256m", "segue", ours, **more),
        *samples.series("idle-256m", "floor", [9.0, 10.0, 11.0]),
        *samples.series("idle-256m", "libvirt 10 ms", [30.0, 29.0, 31.0]),
        *samples.series("idle-256m", "libvirt defaults", [300.0, 290.0, 310.0]),
        *samples.series("idle-256m", "plain 1 ms", [12.0, 12.0, 12.0]),
    ]


@pytest.mark.parametrize(("ours_ms", "holds"), [(12.0, True), (12.1, False)])
def test_an_idle_guest_is_held_against_the_floor(ours_ms: float, holds: bool) -> None:
    found = verdict(idle([ours_ms] * 3), "idle-256m: blackout against floor")
    assert found["value"] == pytest.approx(ours_ms / 10, abs=0.001)
    assert (found["target"], found["unit"], found["holds"]) == (1.2, "times", holds)


def test_libvirts_best_is_chosen_by_its_own_median() -> None:
    found = verdict(idle([11.0] * 3), "idle-256m: blackout against libvirt 10 ms")
    assert found["value"] == pytest.approx(11 / 30, abs=0.001)
    assert found["holds"]
    below = verdict(idle([31.0] * 3), "idle-256m: blackout less that of libvirt 10 ms")
    assert below["value"] == pytest.approx(1.0)
    assert not below["holds"]


def test_one_lost_packet_in_any_run_is_a_miss() -> None:
    found = verdict(
        [*idle([11.0] * 3), samples.sample("idle-256m", "segue", 11.0, lost=1)], "idle-256m: packets lost"
    )
    assert (found["value"], found["holds"]) == (1, False)


def test_the_total_is_held_against_plain_qemu() -> None:
    found = verdict(idle([11.0] * 3, total_s=1.2), "idle-256m: total against plain 1 ms")
    assert (found["value"], found["holds"]) == (1.2, False)


def test_an_overloaded_guest_has_to_move_within_its_budget() -> None:
    all_samples = samples.series("dirty150-256m", "segue", [100.0, 299.0, None], dirty=150)
    assert not verdict(all_samples, "dirty150-256m: guests not moved in time")["holds"]
    assert verdict(all_samples, "dirty150-256m: longest blackout")["holds"]
    over = samples.series("dirty150-256m", "segue", [100.0, 301.0], dirty=150)
    assert not verdict(over, "dirty150-256m: longest blackout")["holds"]


def test_a_peer_that_never_ends_is_no_best() -> None:
    all_samples = [
        *samples.series("dirty150-256m", "segue", [100.0], dirty=150),
        *samples.series("dirty150-256m", "libvirt 10 ms", [None], dirty=150),
        *samples.series("dirty150-256m", "libvirt 10 ms post-copy", [200.0], dirty=150),
    ]
    found = verdict(all_samples, "dirty150-256m: blackout less that of libvirt 10 ms post-copy")
    assert found["holds"]


def test_forecasts_are_judged_by_their_median_error() -> None:
    all_samples = samples.series("idle-256m", "segue", [10.0, 10.0, 10.0])
    for each, foreseen_s in zip(all_samples, (1.1, 0.5, 1.15), strict=True):
        each["foreseen"] = {"total": {"foreseen_s": foreseen_s, "happened_s": 1.0}}
    found = verdict(all_samples, "forecast of total")
    assert found["value"] == pytest.approx(0.15)
    assert found["holds"]


def test_without_segue_there_is_nothing_to_judge() -> None:
    assert verdicts.of_samples(samples.series("idle-256m", "plain 1 ms", [1.0])) == []
