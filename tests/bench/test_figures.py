"""From accounts to figures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import figures, usage
from bench.figures import Samples
from bench.moves import Move, stayed
from tests.bench import samples


def gaps(*ends: tuple[float, float]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = samples.udp(list(ends))["gaps"]
    return told


def test_the_outage_is_the_longest_gap_that_ended_after_the_move_began() -> None:
    assert figures.outage_s(gaps((90.0, 99.0), (100.5, 100.75), (101.0, 101.1)), 100.0) == pytest.approx(0.25)
    assert figures.outage_s([], 100.0) == 0.0


def test_the_cold_start_is_what_the_gap_around_the_resume_has_left() -> None:
    assert figures.cold_start_s(gaps((100.0, 100.4), (100.5, 100.75)), 100.7) == pytest.approx(0.05)
    assert figures.cold_start_s(gaps((100.0, 100.4)), 100.7) is None


def test_a_guest_that_stayed_has_an_outage_and_no_blackout() -> None:
    found = figures.of_move(stayed(100.0, 120.0, "why"), samples.seen([(101.0, 101.2)], lost=3))
    assert found["moved"] is False
    assert found["blackout_s"] is None
    assert found["lost"] == 3
    assert found["outage_s"] == pytest.approx(0.2)


def test_a_move_has_all_figures() -> None:
    found = figures.of_move(Move(100.0, 100.5, 100.6, 101.0), samples.seen([(100.5, 100.7)]))
    wanted = {"blackout_s": 0.1, "service_s": 0.6, "cold_start_s": 0.1, "outage_s": 0.2, "total_s": 1.0}
    assert {name: pytest.approx(found[name]) for name in wanted} == wanted


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9))
def test_a_median_lies_in_its_range(blackouts_ms: list[float]) -> None:
    found = figures.spread(samples.series("c", "p", list(blackouts_ms)), "blackout_s")
    assert found is not None
    assert found["lowest"] <= found["median"] <= found["highest"]


def test_the_best_peer_is_one_that_always_moved_its_guest() -> None:
    all_samples: Samples = [
        *samples.series("c", "quick but not always", [1.0, None, 1.0]),
        *samples.series("c", "steady", [20.0, 22.0, 30.0]),
        *samples.series("c", "slow", [50.0, 52.0, 51.0]),
    ]
    best = figures.best(all_samples, ["quick but not always", "steady", "slow"], "blackout_s")
    assert best is not None
    assert best[0] == "steady"
    assert best[1] == pytest.approx(0.022)
    assert figures.best(all_samples, ["quick but not always"], "blackout_s") is None


def test_the_kernels_tables_are_read() -> None:
    table = (
        "Inter-|   Receive                            |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets\n"
        "    lo: 7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n"
        "uplink0: 100 1 0 0 0 0 0 0 4242 1 0 0 0 0 0 0\n"
    )
    assert usage.sent_bytes(table) == 4242
    with pytest.raises(RuntimeError, match="uplink0"):
        usage.sent_bytes("lo: 1 2 3 4 5 6 7 8 9\n")
    stat = "12 (a (strange) name) S 1 1 1 0 -1 0 0 0 0 0 10 20 30 40 20 0 1 0 5"
    assert usage.ticks(stat) == 100
