"""Memory errors rise on a host: its guests leave; it dies before the last of them could, and that one comes back.

The errors are shown by files; the probe, the verdicts, the evacuation, the fencing and the restart are the real ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.lab.api import Lab
from tests.lab.moves import wait_until
from tests.lab.test_host_verify import DIMM, EDAC

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]
LIMIT_S: Final = 120.0
SLOW_BITS_PER_S: Final = 40_000_000
OPTIONS: Final = """
echo 'OPTIONS="--evacuate-failing 1"' >/etc/default/segue-controller
sv -w 20 restart segue-controller
"""
NO_WAY_FOR_MEMORY: Final = """
nft add table inet broken
nft add chain inet broken out '{ type filter hook output priority 0; }'
nft add rule inet broken out tcp dport '>=' 20000 ct direction original drop
"""


class Story:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.begun_s = time.monotonic()

    def segue(self, *words: str) -> Any:
        done = self.lab.exec("controller1", ["segue", *words], timeout=100.0)
        assert done.returncode in {0, 4}, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr

    def sh(self, host: str, script: str) -> None:
        self.lab.exec(host, ["sh", "-ec", script], check=True)

    def count(self, corrected: int) -> None:
        self.sh("host2", f"echo {corrected} > {DIMM}/dimm_ce_count")

    def where(self) -> dict[str, str]:
        found = self.segue("vm", "list", "-o", "json")
        return {shown["name"]: shown["host"] for shown in found if shown["state"] == "running"}

    def health(self) -> Any:
        return self.segue("host", "health", "-o", "json")

    def level(self) -> str:
        return str({one["host"]: one["level"] for one in self.health()["reports"]}.get("host2", ""))

    def up(self) -> int:
        done = self.lab.exec("controller1", ["segue", "status", "-o", "json"])
        return int(json.loads(done.stdout)["hosts_up"]) if done.returncode == 0 else 0

    def told(self, what: str) -> None:
        print(f"{time.monotonic() - self.begun_s:6.1f} s  {what}")


@pytest.fixture
def story(labs_folder: Path) -> Iterator[Story]:
    lab = Lab(f"fm{os.getpid()}")
    try:
        lab.up(hosts=3, clients=0, controllers=1, bmc=True)
        lab.wait_for_services(60.0)
        made = Story(lab)
        made.sh("controller1", OPTIONS)
        made.sh("host2", EDAC)
        wait_until(lambda: made.up() == 3, "all hosts are connected")
        yield made
    finally:
        Lab(lab.places.name).down()


def test_a_host_whose_memory_fails_is_left_and_who_was_still_there_comes_back(story: Story) -> None:
    for name, memory, more in (
        ("g1", "112MiB", ""),
        ("g2", "112MiB", ""),
        ("g3", "512MiB", "segue.dirty=8M/380M"),
    ):
        words = ("--host", "host2", "--memory", memory, "--disk", "size=64MiB", "--cmdline", more)
        story.segue("vm", "create", name, *words)
    wait_until(lambda: story.where() == dict.fromkeys(("g1", "g2", "g3"), "host2"), "all run", LIMIT_S)
    wait_until(lambda: story.level() == "healthy", "its memory is seen", LIMIT_S)
    story.lab.set_rate(SLOW_BITS_PER_S, "host2")
    story.begun_s = time.monotonic()
    story.count(41)
    wait_until(lambda: story.level() == "suspect", "it is suspect", LIMIT_S)
    story.told("suspect")
    assert story.health()["answer"]["taints"]["host2"]["hard"]
    assert not story.health()["answer"]["evacuations"]
    story.count(90)
    wait_until(lambda: story.level() == "failing", "it fails", LIMIT_S)
    story.told("failing")

    def left() -> bool:
        where = story.where()
        return where.get("g1", "host2") != "host2" and where.get("g2", "host2") != "host2"

    wait_until(left, "those that can have left", LIMIT_S)
    story.told("g1 and g2 have left")
    assert story.where().get("g3") == "host2", "the busy one is still there"
    by = [task for task in story.segue("task", "list", "-o", "json") if task["kind"] == "drain"]
    assert [task["by"] for task in by] == ["health"]
    story.lab.kill("host2")
    killed_s = time.time()
    story.told("host2 dies")
    wait_until(lambda: story.where().get("g3", "host2") != "host2", "g3 runs elsewhere", LIMIT_S)
    story.told("g3 runs elsewhere")
    found = [i for i in story.segue("incident", "list", "-o", "json") if i["cause"] == "host_lost"]
    incident = json.loads(json.dumps(found[0]))
    print(f"g3 was away for {max(hit['back_s'] for hit in incident['hits']) - killed_s:.1f} s")
    assert len(found) == 1
    assert {hit["guest"] for hit in incident["hits"]} == {"g3"}
    assert incident["proof"]["kind"] == "bmc_off"
    evidence = {one["source"]: one["text"] for one in incident["evidence"]}
    assert "DIMM_A1" in evidence["its last report of its health"]
    assert "corrected errors" in evidence["its last report of its health"]
    assert set(story.where()) == {"g1", "g2", "g3"}


def test_who_cannot_leave_a_failing_host_alive_leaves_it_by_a_restart(story: Story) -> None:
    """No memory gets out of it any more, though its agent is heard. One of two guests may be ended for that."""
    for name, policy in (("may", "elsewhere,unmovable=elsewhere"), ("stays", "elsewhere")):
        story.segue(
            "vm",
            "create",
            name,
            "--host",
            "host2",
            "--memory",
            "112MiB",
            "--disk",
            "size=64MiB",
            "--on-crash",
            policy,
        )
    wait_until(lambda: story.where() == dict.fromkeys(("may", "stays"), "host2"), "both run", LIMIT_S)
    wait_until(lambda: story.level() == "healthy", "its memory is seen", LIMIT_S)
    story.sh("host2", NO_WAY_FOR_MEMORY)
    story.count(41)
    wait_until(lambda: story.level() == "suspect", "it is suspect", LIMIT_S)
    story.count(90)
    wait_until(lambda: story.level() == "failing", "it fails", LIMIT_S)
    story.told("failing")
    wait_until(lambda: story.where().get("may", "host2") != "host2", "it runs elsewhere", 3 * LIMIT_S)
    story.told("the guest that may be ended runs elsewhere")
    wait_until(lambda: story.segue("incident", "list", "-o", "json")[0]["ended_s"], "that is known", LIMIT_S)
    incidents = story.segue("incident", "list", "-o", "json")
    assert [(i["cause"], i["hits"][0]["guest"]) for i in incidents] == [("unmovable", "may")]
    steps = [step["text"] for step in incidents[0]["done"]]
    print(incidents[0]["text"], *steps, sep="\n  ")
    assert "2 moves failed, the last one: " in incidents[0]["text"]
    assert any("started it" in step for step in steps)
    assert story.where()["stays"] == "host2"
