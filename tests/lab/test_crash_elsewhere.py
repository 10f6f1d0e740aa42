"""Guests that crash on a host that lives, and whose policy has them started on another one by a controller.

Each writes its host's name to a shared disk before anything else; QEMU's lock on it tells two at once.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
LIMIT_S: Final = 60.0
MEMORY: Final = "112MiB"


class Fleet:
    """Three hosts and a controller."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def wait_whole(self) -> None:
        def up() -> bool:
            done = self.lab.exec("controller1", ["segue", "status", "-o", "json"])
            return done.returncode == 0 and json.loads(done.stdout)["hosts_up"] == 3

        wait_until(up, "all hosts are connected")

    def segue(self, *words: str, code: int = 0) -> Any:
        done = self.lab.exec("controller1", ["segue", *words], timeout=100.0)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr

    def create(self, name: str, host: str, policy: str, *more: str) -> None:
        words = ("--host", host, "--memory", MEMORY, "--disk", "size=16MiB", "--on-crash", policy, *more)
        self.segue("vm", "create", name, *words)
        wait_until(lambda: self.where(name) == (host, "running"), f"{name} runs", LIMIT_S)

    def shown(self, name: str) -> dict[str, Any]:
        return next(dict(one) for one in self.segue("vm", "list", "-o", "json") if one["name"] == name)

    def where(self, name: str) -> tuple[str, str]:
        found = self.shown(name)
        return found["host"], found["state"]

    def running(self, name: str) -> list[int]:
        """Its QEMUs, on whatever host."""
        word = f"guest={name},process=segue-{name},debug-threads=on".encode()
        return [int(f.name) for f in Path("/proc").iterdir() if f.name.isdigit() and self._is(f, word)]

    def _is(self, folder: Path, word: bytes) -> bool:
        try:
            inside = str(self.lab.places.top) in (folder / "environ").read_text(errors="replace")
            return inside and word in (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def kill(self, name: str) -> None:
        (pid,) = self.running(name)
        os.kill(pid, signal.SIGKILL)

    def incident(self, name: str, cause: str = "qemu_ended") -> dict[str, Any]:
        """The newest one, once it is over."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            every = self.segue("incident", "list", "--guest", name, "-o", "json")
            found[:] = [one for one in every if one["cause"] == cause]
            return bool(found) and bool(found[0]["ended_s"])

        wait_until(look, f"the incident of {name} is over", LIMIT_S)
        return found[0]

    def agent(self, host: str, order: str) -> None:
        self.lab.exec(host, ["sv", "-w", "20", order, "segue-agent"], check=True)


@pytest.fixture(scope="module")
def fleet(labs_folder: Path) -> Iterator[Fleet]:
    lab = Lab(f"ce{os.getpid()}")
    try:
        lab.up(hosts=3, clients=0, controllers=1)
        lab.wait_for_services(60.0)
        made = Fleet(lab)

        made.wait_whole()
        yield made
    finally:
        Lab(lab.places.name).down()


def said(incident: dict[str, Any]) -> str:
    return "; ".join(step["text"] for step in incident["done"])


def test_it_is_back_on_another_host_with_its_identity(fleet: Fleet) -> None:
    fleet.create("g1", "host1", "elsewhere")
    before = fleet.shown("g1")
    fleet.kill("g1")
    incident = fleet.incident("g1")
    print(
        f"away for {incident['hits'][0]['back_s'] - incident['hits'][0]['began_s']:.1f} s: {said(incident)}"
    )
    after = fleet.shown("g1")
    assert after["host"] != "host1"
    assert (after["state"], after["phase"]) == ("running", "owner")
    assert after["epoch"] > before["epoch"]
    assert after["spec"] == before["spec"]
    assert incident["hits"][0]["back_s"] > incident["hits"][0]["began_s"]
    assert f"{after['host']} started it" in said(incident)
    assert len(fleet.running("g1")) == 1
    task = next(t for t in fleet.segue("task", "list", "-o", "json") if t["kind"] == "restart")
    assert task["note"] == f"g1 runs on {after['host']}, started from its disks"


@pytest.mark.slow
def test_where_no_host_takes_it_it_is_restarted_where_it_was_and_that_is_said(fleet: Fleet) -> None:
    fleet.create("g2", "host1", "elsewhere")
    for host in ("host2", "host3"):
        fleet.segue("host", "cordon", host)
    try:
        fleet.kill("g2")
        incident = fleet.incident("g2")
    finally:
        for host in ("host2", "host3"):
            fleet.segue("host", "uncordon", host)
    assert fleet.where("g2") == ("host1", "running")
    assert "no other host starts it" in said(incident)
    assert "cordoned" in said(incident)


@pytest.mark.slow
def test_without_a_controller_it_waits_and_then_starts_where_it_was(fleet: Fleet) -> None:
    fleet.create("g3", "host1", "elsewhere")
    fleet.lab.exec("controller1", ["sv", "-w", "20", "down", "segue-controller"], check=True)
    try:
        fleet.kill("g3")
        wait_until(lambda: not fleet.running("g3"), "it is gone")
        wait_until(lambda: len(fleet.running("g3")) == 1, "it is back", LIMIT_S)
    finally:
        fleet.lab.exec("controller1", ["sv", "-w", "20", "up", "segue-controller"], check=True)
        fleet.wait_whole()
    assert "no other host has started it" in said(fleet.incident("g3"))
    assert fleet.where("g3")[0] == "host1"


@pytest.mark.slow
def test_what_only_its_host_has_is_not_promised_elsewhere(fleet: Fleet) -> None:
    words = (
        "vm",
        "create",
        "g4",
        "--host",
        "host1",
        "--memory",
        MEMORY,
        "--disk",
        "size=16MiB,storage=local",
    )
    told = fleet.segue(*words, "--on-crash", "elsewhere", code=2)
    assert "disks on one host alone" in told
    fleet.segue(*words)
    told = fleet.segue("vm", "on-crash", "g4", "panic=elsewhere", code=2)
    assert "is on this host alone" in told
    for policy, why in (
        ("host=elsewhere", "host=restart"),
        ("unmovable=restart", "unmovable=leave|elsewhere"),
    ):
        assert why in fleet.segue("vm", "on-crash", "g1", policy, code=2)


PLACES: Final = (
    *(("host1", place) for place in (
        "before offered", "after offered", "begun reserve target", "done reserve target",
        "before released", "after released", "done hand off", "before absent",
    )),
    *(("host2", place) for place in (
        "before incoming", "after incoming", "hears grant", "before owner", "after owner",
    )),
)  # fmt: skip


@pytest.mark.parametrize(("host", "place"), PLACES)
@pytest.mark.slow
def test_an_agent_is_killed_in_the_middle(fleet: Fleet, host: str, place: str) -> None:
    """Once it is back the guest runs, on one host, and nothing of it is left on the other."""
    name = f"k{PLACES.index((host, place))}"
    fleet.create(name, "host1", "elsewhere")
    fleet.segue("host", "cordon", "host3")
    failpoints = fleet.lab.agent_socket(host).parent / "failpoints"
    failpoints.write_text(f"{place}=kill\n")
    try:
        fleet.kill(name)
        incident = fleet.incident(name)
        assert not failpoints.read_text(), "the agent was killed there"
    finally:
        failpoints.unlink(missing_ok=True)
        fleet.segue("host", "uncordon", "host3")
    print(f"{host} {place}: {said(incident)}")
    wait_until(lambda: fleet.where(name)[1] == "running", f"{name} runs", LIMIT_S)
    wait_until(lambda: len(fleet.running(name)) == 1, "once", LIMIT_S)
    wait_until(lambda: fleet.shown(name)["phase"] == "owner", "and is settled", LIMIT_S)
    fleet.segue("vm", "stop", name, "--timeout", "0s")
    fleet.segue("vm", "delete", name, "--yes")


@pytest.mark.slow
def test_the_target_refuses_to_run_what_it_was_given(fleet: Fleet) -> None:
    """Its QEMU dies when it is told to run: the guest is given back, and its own host restarts it."""
    fleet.create("g5", "host1", "elsewhere")
    fleet.segue("host", "cordon", "host3")
    failpoints = fleet.lab.agent_socket("host2").parent / "failpoints"
    failpoints.write_text("hears grant=exec pkill -KILL -f guest=g5,process\n")
    try:
        fleet.kill("g5")
        incident = fleet.incident("g5")
    finally:
        fleet.segue("host", "uncordon", "host3")
    print(said(incident))
    assert fleet.where("g5") == ("host1", "running")
    assert "did not start it" in said(incident)
    assert len(fleet.running("g5")) == 1


@pytest.mark.slow
def test_what_no_move_takes_from_a_failing_host_is_ended_and_started_elsewhere(fleet: Fleet) -> None:
    """By what its policy allows; without that it is left, and that is on record."""
    fleet.create("g6", "host1", "elsewhere,unmovable=elsewhere")
    fleet.create("g7", "host1", "restart")
    agent = Host("host1", f"unix://{fleet.lab.agent_socket('host1')}")
    for name in ("g6", "g7"):
        told = agent.call("POST", f"/guests/{name}/unmovable", {"why": "3 moves failed"})
        assert told["cause"] == "unmovable"
    incident = fleet.incident("g6", "unmovable")
    assert fleet.where("g6")[0] != "host1"
    assert "3 moves failed" in incident["text"]
    left = next(i for i in fleet.segue("incident", "list", "--guest", "g7", "-o", "json") if not i["ended_s"])
    assert "left to a person: its policy for unmovable is to leave it" in said(left)
    assert fleet.where("g7") == ("host1", "running")
    fleet.segue("migrate", "g7", "--to", "host2")
    assert "not on this host any more" in said(fleet.incident("g7", "unmovable"))
