"""The planners' benchmark: its clusters are the same for both planners, and its verdicts follow from the samples."""

from __future__ import annotations

from typing import Any

import pytest

from bench import planner_clusters as clusters
from bench import planner_hbal as hbal
from bench import planner_run, planner_verdicts
from segue.model.balance import Temper
from segue.policy import balance
from segue.policy.board import Board
from segue.policy.imbalance import Imbalance


def sample(planner: str, task: str = "moves", hosts: int = 100, **more: Any) -> dict[str, Any]:
    about = {"task": task, "planner": planner, "hosts": hosts, "guests": 15 * hosts, "seed": 1, "moves": 10}
    return {**about, "score_before": 6.0, "ended": True, "peak_bytes": 5e8, **more}


def verdicts(*samples: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    found = planner_verdicts.of_samples(list(samples))
    return {each["name"]: (each["value"], each["holds"]) for each in found}


@pytest.mark.parametrize(
    ("score", "cpu_s", "holds"), [(5.05, 0.9, (True, True)), (5.06, 1.1, (False, False))]
)
def test_ten_moves_are_held_against_hbals(score: float, cpu_s: float, holds: tuple[bool, bool]) -> None:
    found = verdicts(
        sample("segue", score_after=score, process_cpu_s=cpu_s),
        sample("segue", score_after=5.0, process_cpu_s=0.1),
        sample("hbal", score_after=5.0, cpu_s=100.0),
    )
    assert tuple(held for _, held in found.values()) == holds
    assert next(iter(found.values()))[0] == pytest.approx(score / 5.0)


def test_other_clusters_other_numbers_of_moves_and_what_was_cut_off_do_not_count() -> None:
    ours = sample("segue", score_after=5.0, process_cpu_s=0.1)
    for theirs in (
        sample("hbal", score_after=5.0, cpu_s=1.0, seed=2),
        sample("hbal", score_after=5.0, cpu_s=1.0, moves=9),
        sample("hbal", score_after=5.0, cpu_s=1.0, ended=False),
    ):
        assert not verdicts(ours, theirs)


def test_one_guest_is_judged_by_what_it_gains() -> None:
    theirs = sample("hbal", "one guest", 1000, score_after=5.0)
    good = verdicts(sample("segue", "one guest", 1000, score_after=5.005), theirs)
    bad = verdicts(sample("segue", "one guest", 1000, score_after=5.02), theirs)
    assert [held for _, held in good.values()] == [True]
    assert [held for _, held in bad.values()] == [False]


def test_the_worst_of_all_runs_counts() -> None:
    runs = [sample("segue", "converge", 4000, plan_s=each, peak_bytes=each * 1e8) for each in (4.0, 11.0)]
    found = verdicts(*runs, sample("segue", "drain", 1000, makespan_s=14.0, link_s=10.0, staying=1))
    assert list(found.values()) == [(11.0, False), (1100.0, False), (1.4, False), (1, False)]


def test_a_cluster_is_the_same_each_time_and_within_its_hosts() -> None:
    fleet = clusters.of(20, 7)
    assert fleet == clusters.of(20, 7)
    assert fleet != clusters.of(20, 8)
    board = Board(fleet)
    assert not any(board.overfull(host) for host in range(20))
    shares = [share[0] for share in board.share]
    assert max(shares) > 2 * min(shares), "badly spread"


def test_hbals_text_has_every_guest_where_it_is() -> None:
    fleet = clusters.of(5, 1)
    where = {guest.name: fleet.hosts[0].name for guest in fleet.guests}
    lines = list(clusters.data(fleet, where))
    sections = "\n".join(lines).split("\n\n")
    assert len(sections[1].splitlines()) == 5
    rows = [row.split("|") for row in sections[2].splitlines()]
    assert [(row[0], row[6]) for row in rows] == list(where.items())
    first = sections[1].splitlines()[0].split("|")
    assert int(first[1]) == int(first[2]) + int(first[3]) + sum(int(row[1]) for row in rows)


@pytest.mark.skipif(not hbal.available(), reason="hbal is not installed: apt-get install ganeti-htools")
@pytest.mark.parametrize("hosts", [12, 120])
def test_hbal_and_the_planner_mean_the_same_score(hosts: int, tmp_path: Any) -> None:
    """Before and after, with and without loads: so a move that helps the one helps the other."""
    fleet = clusters.of(hosts, 3)
    loads = None if clusters.is_without_load(fleet) else tmp_path / "loads"
    if loads:
        loads.write_text("\n".join(clusters.loads(fleet)) + "\n")
    chosen = planner_run.settings(fleet, 20)
    made, _ = balance.plan(fleet, Temper(acting=True), 0.0, chosen)
    where = {guest.name: guest.host for guest in fleet.guests}
    for score, moves in ((made.before, ()), (made.after, made.plan.moves)):
        where |= {move.guest: move.target for move in moves}
        data = tmp_path / "data"
        data.write_text("\n".join(clusters.data(fleet, where)) + "\n")
        assert hbal.score(data, loads) == pytest.approx(score, abs=2e-8 * max(1.0, score) + 2e-8)
    assert Imbalance(Board(fleet), chosen.weights).score() == pytest.approx(made.before)
