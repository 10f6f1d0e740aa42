"""`segue rehearse`: what it plays, what it answers, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segue.cli import rehearse
from segue.errors import Refused

FLEET = """
hosts:
  - {name: h1, memory: 16GiB, cpus: 8, link: 1gbit, labels: {rack: r1}}
  - {name: h2, memory: 16GiB, cpus: 8, link: 1gbit, labels: {rack: r2}}
guests:
  - {name: web1, host: h1, memory: 1GiB, dirty: 5MiB/s, working_set: 64MiB}
  - {name: big1, host: h1, memory: 15GiB}
  - {name: full2, host: h2, memory: 8GiB}
"""


def run(*words: str, code: int = 0) -> str:
    answer = CliRunner().invoke(rehearse.app, list(words))
    if isinstance(answer.exception, Refused):
        raise answer.exception
    assert answer.exit_code == code, answer.output
    return answer.stdout


def test_a_maintenance_is_played_on_a_copy_of_the_fleet(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    told = json.loads(run("--fleet", str(path), "--domain", "rack=r1", "-o", "json"))
    assert not told["wrong"]
    assert [(move["guest"], move["stage"]) for move in told["migrations"]] == [("web1", "done")]
    (drain,) = told["tasks"]
    assert drain["state"] == "partial"
    assert "short of memory" in drain["staying"]["big1"]
    assert 0 < told["blackouts_s"]["web1"] < 0.3


@pytest.mark.parametrize(
    ("host", "guest", "more", "why"),
    [
        ("taints: [repair]", "", "", "h2: is tainted repair"),
        ("cordoned: true", "", "", "h2: is cordoned"),
        ("networks: [blue]", "networks: [red]", "", "h2: is not among the hosts that may take it"),
        ("cpu_features: [sse]", "cpu_features: [avx512f]", "", "h2: is not among the hosts that may take it"),
        ("", "wants: {disk: ssd}", "", "h2: disk is not set, wanted: ssd"),
        ("", "pinned: it must not", "", "it must not"),
        ("", "labels: {app: a}", "rules: [{name: r, apart: {app: a}}]", "h2: rule r: "),
    ],
)
def test_what_people_decided_of_a_fleet_is_heeded(
    tmp_path: Path, host: str, guest: str, more: str, why: str
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(f"""
hosts:
  - {{name: h1, memory: 16GiB, cpus: 8, link: 10gbit, networks: [blue, red]}}
  - {{name: h2, memory: 16GiB, cpus: 8, link: 10gbit, {host}}}
guests:
  - {{name: web1, host: h1, memory: 1GiB, {guest}}}
  - {{name: web2, host: h2, memory: 1GiB, labels: {{app: a}}}}
{more}
""")
    told = json.loads(run("--fleet", str(path), "--drain", "h1", "-o", "json"))
    assert not told["wrong"]
    assert told["migrations"] == []
    assert why in told["tasks"][0]["staying"]["web1"]


def test_several_seeds_say_how_each_went() -> None:
    told = json.loads(run("--seed", "1", "--seeds", "3", "-o", "json"))
    assert [verdict["seed"] for verdict in told] == [1, 2, 3]
    assert all(not verdict["wrong"] and verdict["digest"] for verdict in told)


def test_the_stories_are_listed() -> None:
    assert "two-leaders" in run("--list")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "not clear"),
        (("two-leaders", "--seed", "1"), "not clear"),
        (("no-such-story",), "two-leaders"),
    ],
)
def test_what_cannot_be_played_is_refused(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(Refused) as error:
        run(*words)
    assert why in str(error.value)


def test_a_fleet_needs_something_to_empty(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    for words in (("--fleet", str(path)), ("--fleet", str(path), "--drain", "h9")):
        with pytest.raises(Refused):
            run(*words)
