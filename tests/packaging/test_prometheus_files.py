"""Dashboard and alerts ask for nothing but what is exported, by labels that it has, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from segue.agent import figures as agent_figures
from segue.controller.metered import ERRORS
from segue.model.checkup import Level
from segue.model.guest import RunState
from segue.model.lifecycle import Stage
from segue.model.metrics import AGENT, CONTROLLER, Sort
from segue.model.task import TaskState
from tests.packaging import promql
from tests.test_docs import demand_options

ROOT: Final = Path(__file__).parent.parent.parent / "packaging"
RULES: Final = ROOT / "prometheus" / "segue-rules.yml"
DASHBOARD: Final = ROOT / "grafana" / "segue.json"
TARGET: Final = {"instance", "job", "host"}
"""Labels that Prometheus itself gives to everything it reads; `host` as the how-to has it."""
VALUES: Final = {
    "result": {"done", "aborted", "lost", "sent", "failed", "dropped"},
    "reason": {reason for _, reason in agent_figures.RESULTS},
    "state": {*RunState, *TaskState, "up", "away", "removed", "cordoned"},
    "error": {*ERRORS.values(), "other"},
    "level": set(Level),
    "phase": set(Stage),
    "kind": {"vm", "total", "free"},
    "op": {"get", "list", "commit", "lease", "keep_alive", "revoke"},
}


def exported() -> dict[str, set[str]]:
    """Every series by its name, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in (*AGENT, *CONTROLLER):
        suffixes = ("_bucket", "_sum", "_count") if metric.sort is Sort.HISTOGRAM else ("",)
        for suffix in suffixes:
            labels = {*metric.labels, "le"} if suffix == "_bucket" else set(metric.labels)
            found.setdefault(metric.name + suffix, set()).update(labels)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for family in registry.collect():
        found |= {sample.name: set[str]() for sample in family.samples}
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()]
    return asked + [(f"{p['title']} {t['refId']}", t["expr"]) for p in panels() for t in p["targets"]]


@pytest.mark.parametrize(("where", "expr"), queries(), ids=[where for where, _ in queries()])
def test_a_query_names_what_is_exported(where: str, expr: str) -> None:
    known, asked = exported(), promql.named(expr)
    assert asked.metrics, where
    assert asked.metrics <= known.keys()
    for metric, matchers in asked.matched.items():
        assert matchers.keys() <= known[metric] | TARGET, metric
        for label, value in matchers.items():
            if label in VALUES and value:
                assert set(value.split("|")) <= VALUES[label], f"{metric} never has {label}={value}"
    grouped = set[str]().union(*(known[metric] for metric in asked.metrics)) | TARGET
    assert asked.grouped <= grouped
    if "histogram_quantile" in expr:
        assert "le" in asked.grouped, "a quantile needs its buckets"


@pytest.mark.parametrize(
    "expr",
    [
        "segue_migration_total",
        "sum by (vm) (segue_leader)",
        'segue_guests{vm="web1"}',
        'segue_guests{state="gone"}',
    ],
)
def test_a_wrong_query_is_found(expr: str) -> None:
    with pytest.raises(AssertionError):
        test_a_query_names_what_is_exported("here", expr)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "todo"}
    asked, known = promql.named(rule["expr"]), exported()
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    aggregated = re.search(r"\b(?:sum|min|max|histogram_quantile)\b", rule["expr"])
    has = (
        asked.grouped
        if aggregated
        else set[str]().union(*(known[metric] for metric in asked.metrics)) | TARGET
    )
    assert told <= has
    todo = rule["annotations"]["todo"]
    for page in re.findall(r"docs/\S+\.md", todo):
        assert (ROOT.parent / page).is_file()
    for line in re.findall(r"segue [a-z]+ ?[a-z]*", todo):
        demand_options(line)


def test_panels_lie_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]


def test_the_dashboard_shows_nearly_everything() -> None:
    shown = set[str]().union(*(promql.named(expr).metrics for _, expr in queries()))
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    left_out = {metric.name for metric in (*AGENT, *CONTROLLER)} - plain
    assert left_out <= {"segue_host_cpus", "segue_store_revision", "segue_fleet_migrations_running"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus has promtool")
@pytest.mark.parametrize(
    "words",
    [("check", "rules", str(RULES)), ("test", "rules", str(Path(__file__).parent / "rules_test.yml"))],
    ids=["check", "test"],
)
def test_prometheus_takes_the_rules(words: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
