"""Tonight's maintenance is played on a copy of the fleet, by the program that will carry it out."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from segue.cli.main import app
from segue.model.maintenance import Alerts, Order, Scope, Step, StepKind, Strategy, Window
from segue.sim import tonight
from segue.sim.world import BEGINS_S

FLEET = """
hosts:
  - {name: h1, memory: 16GiB, cpus: 8, link: 10gbit, labels: {feed: a}}
  - {name: h2, memory: 16GiB, cpus: 8, link: 10gbit, labels: {feed: b}}
guests:
  - {name: web1, host: h1, memory: 2GiB}
"""
ORDER = """
name: feed-a
scope: {domain: feed=a}
window: {begins: 2026-11-28T02:00, ends: 2026-11-28T05:00}
procedure: [cordon, drain, {run: apt-get update, takes: 10m}, {reboot: {when: wanted}}, health, uncordon, return]
"""


def played(tmp_path: Path, order: str, *more: str) -> tuple[int, str]:
    fleet, ordered = tmp_path / "fleet.yaml", tmp_path / "order.yaml"
    fleet.write_text(FLEET)
    ordered.write_text(order)
    argv = ["rehearse", "--fleet", str(fleet), "--maintenance", str(ordered), *more]
    result = CliRunner().invoke(app, argv)
    return result.exit_code, result.stdout


def test_the_order_is_carried_out_and_its_times_are_those_that_are_foreseen(tmp_path: Path) -> None:
    code, out = played(tmp_path, ORDER, "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert [(task["kind"], task["state"]) for task in found["tasks"]] == [("maintenance", "done")]
    assert [(m["source"], m["target"]) for m in found["migrations"]] == [("h1", "h2"), ("h2", "h1")]
    (work,) = found["maintenances"]
    assert work["state"] == "done"
    assert 600 + 300 < work["ended_s"] - work["begun_s"] < 600 + 300 + 120


def test_what_cannot_be_done_in_its_window_ends_before_it_begins(tmp_path: Path) -> None:
    code, out = played(tmp_path, ORDER.replace("T05:00", "T02:10"), "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert [task["state"] for task in found["tasks"]] == ["failed"]
    assert "window" in found["tasks"][0]["note"]
    assert found["migrations"] == []


def test_every_kind_of_step_is_played_or_it_is_said(tmp_path: Path) -> None:
    made = tonight.adapted(
        Order("all", Scope(hosts=("h1",)), tuple(Step(kind, script="x") for kind in StepKind))
    )
    kinds = {step.kind for step in made.order.procedure}
    assert not kinds & {StepKind.POWER_CYCLE, StepKind.FIRMWARE, StepKind.UPDATE}
    assert {text.split(":")[0] for text in made.said} == {"power-cycle", "firmware", "update-guests"}


def test_a_window_keeps_its_length() -> None:
    order = Order(
        "n", Scope(hosts=("h1",)), (Step(StepKind.CORDON),), Window(7200.0, 10800.0),
        Strategy(alerts=Alerts("http://p")),
    )  # fmt: skip
    made = tonight.adapted(order)
    assert made.order.window == Window(0.0, BEGINS_S + tonight.BEGINS_AT_S + 3600.0)
    assert made.said == ("alerts are not asked for: none fires",)


def test_hosts_that_are_not_there_are_named(tmp_path: Path) -> None:
    code, out = played(tmp_path, ORDER.replace("{domain: feed=a}", "{hosts: [h9]}"))
    assert code != 0
    assert "GUEST" not in out
