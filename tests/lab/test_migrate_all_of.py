"""A host is emptied by one command: several moves at once to one target, and a guest that fits nowhere is named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
MEMORY_BYTES = 112 << 20
GUESTS = ("g1", "g2", "g3", "g4")


@pytest.fixture
def three(labs_folder: Path) -> Iterator[Lab]:
    """Three hosts without guests."""
    made = Lab(f"e{os.getpid()}")
    made.up(hosts=3, clients=1)
    made.wait_for_agents()
    yield made
    made.down()


def agent(lab: Lab, host: str) -> Host:
    return Host(host, f"unix://{lab.agent_socket(host)}")


def running(lab: Lab, host: str) -> list[str]:
    guests = agent(lab, host).call("GET", "/guests")
    return [g["name"] for g in guests if (g["phase"], g["state"]) == ("owner", "running")]


def emptied(lab: Lab, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and data of the command as an operator on the client types it."""
    argv = ("segue", "migrate", "--all-of", "host1", "--max-blackout", "5s", "-o", "json", *words)
    done = lab.exec("client1", argv, timeout=200)
    return done.returncode, json.loads(done.stdout)


def test_all_guests_go_and_what_fits_nowhere_stays_and_is_named(three: Lab) -> None:
    for name in GUESTS:
        wish = {"name": name, "image": "micro", "memory_bytes": MEMORY_BYTES}
        agent(three, "host1").call("POST", "/guests", wish)
    # g4's name is taken on both targets, so it fits nowhere.
    for host in ("host2", "host3"):
        other = {"name": "g4", "image": "micro", "memory_bytes": MEMORY_BYTES, "start": False}
        agent(three, host).call("POST", "/guests", other)
    _, plan = emptied(three, "--dry-run")
    assert running(three, "host1") == list(GUESTS)
    assert sorted(t["guest"] for t in plan["transfers"]) == ["g1", "g2", "g3"]
    code, data = emptied(three)
    assert code == 1
    assert sorted(record["guest"] for record in data["moved"]) == ["g1", "g2", "g3"], data["not_moved"]
    assert "has a guest named g4 already" in data["not_moved"]["g4"]
    assert running(three, "host1") == ["g4"]
    wait_until(lambda: len(running(three, "host2") + running(three, "host3")) == 3, "each runs once")
