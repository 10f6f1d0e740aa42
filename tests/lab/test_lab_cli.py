"""The command `segue lab`: exit codes, output for programs, and errors that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from segue.errors import Kind, Refused
from segue.lab.api import Lab

pytestmark = pytest.mark.lab


def segue(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segue", "lab", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)


def settled(status: dict[str, Any]) -> dict[str, Any]:
    """The status without what changes while an agent starts."""
    moving = ("processes", "agent")
    machines = [{k: v for k, v in each.items() if k not in moving} for each in status["machines"]]
    return {**status, "machines": machines}


def test_a_lab_lives_by_its_commands(no_lab: Lab) -> None:
    named = ("--name", no_lab.places.name)
    up = segue("up", "--hosts", "1", "--clients", "1", "--images", "", "--no-wait", *named)
    assert up.returncode == 0, up.stderr
    assert up.stdout == ""
    assert f"segue lab exec --name {no_lab.places.name} client1 --" in up.stderr
    ran = segue("exec", *named, "host1", "--", "sh", "-c", "cat; exit 7", stdin="through")
    assert (ran.returncode, ran.stdout) == (7, "through")
    seen = segue("status", "-o", "json", *named)
    assert seen.stderr == ""
    again = yaml.safe_load(segue("status", "-o", "yaml", *named).stdout)
    assert settled(json.loads(seen.stdout)) == settled(again)
    assert [machine["name"] for machine in json.loads(seen.stdout)["machines"]] == [
        "host1",
        "client1",
        "fabric",
    ]
    for verb in (
        ["cut", "host1"],
        ["mend"],
        ["link", "--rate", "1gbit"],
        ["kill", "host1"],
        ["start", "host1"],
    ):
        done = segue(*verb, *named)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "1gbit" in segue("status", *named).stdout
    assert segue("down", *named).returncode == 0
    assert segue("down", *named).returncode == 0


@pytest.mark.slow
def test_errors_say_what_why_and_what_to_do(lab: Lab) -> None:
    named = ("--name", lab.places.name)
    for argv, text in {
        (
            "exec",
            *named,
            "host9",
            "--",
            "true",
        ): "there is no machine host9 in this lab: it has host1, host2, client1",
        ("kill", *named, "fabric"): "it is the cable between the machines",
        ("status", "--name", "nosuchlab"): "there is no lab nosuchlab",
        ("up", "--name", "../etc"): "cannot use '../etc' as the name of a lab",
        ("link", *named, "--rate", "fast"): "cannot set a link to fast",
    }.items():
        done = segue(*argv)
        assert 0 < done.returncode < 10, argv
        assert done.stdout == ""
        assert text in done.stderr.replace("\n", " ")
        assert "what to do:" in done.stderr


@pytest.fixture
def nobody() -> Iterator[None]:
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("nobody")
def test_who_is_not_root_is_told_so(lab: Lab) -> None:
    for verb in (
        lab.up,
        lab.down,
        lab.status,
        lambda: lab.kill("host1"),
        lambda: lab.exec("host1", ["true"]),
    ):
        with pytest.raises(Refused, match="takes root") as refused:
            verb()
        assert refused.value.kind is Kind.AUTH
