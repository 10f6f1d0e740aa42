"""Hosts without BMCs whose guests run by a lease: cut off, frozen, left alone by the controller; never two copies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.moves import wait_until
from tests.lab.test_host_death import Ward, Writers

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(300)]
LEASE_S: Final = 6.0


class Leased(Ward):
    """Three hosts with leases and a controller."""

    def agent(self, host: str) -> Host:
        return Host(host, f"unix://{self.lab.agent_socket(host)}")

    def lease(self, host: str) -> dict[str, Any]:
        found = self.agent(host).call("GET", "/lease")
        return dict(found) if found else {}

    def all_leased(self) -> bool:
        """By what the hosts themselves say, and by the controller's own word."""
        if not all(self.lease(f"host{n}").get("lives") for n in (1, 2, 3)):
            return False
        shown = self.segue("host", "list", "-o", "json")
        return all((host["charter"] or {}).get("held") for host in shown)

    def restarted(self, host: str) -> bool:
        return all(there != host and state == "running" for there, state in self.where().values())

    @contextmanager
    def agent_stands(self, host: str) -> Iterator[None]:
        """Its agent does nothing meanwhile; its guard does."""
        agents = self.processes(host, "agent")
        for pid in agents:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in agents:
            os.kill(pid, signal.SIGCONT)

    def replace_guard(self, host: str) -> None:
        """Its guard is killed, and the agent has started another one."""
        before = self.processes(host, "segue.agent.guard")
        os.kill(before[0], signal.SIGKILL)
        wait_until(
            lambda: (now := self.processes(host, "segue.agent.guard")) and now != before,
            "another guard watches",
        )

    def processes(self, host: str, *parts: str) -> list[int]:
        """By the machine's own numbers."""
        found = []
        for pid in self.lab.host_pids(host):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue
            if any(part in words for part in parts):
                found.append(pid)
        return found


@pytest.fixture(scope="module")
def ward(labs_folder: object) -> Iterator[Leased]:
    lab = Lab(f"le{os.getpid()}")
    try:
        lab.up(hosts=3, clients=0, controllers=1, lease_s=LEASE_S)
        lab.wait_for_services(60.0)
        made = Leased(lab)
        wait_until(lambda: len(made.up()) == 3, "all hosts are connected")
        wait_until(made.all_leased, "all of them have a lease")
        yield made
    finally:
        Lab(lab.places.name).down()


def test_a_host_that_is_cut_off_ends_its_guest_itself_and_the_guest_runs_elsewhere(ward: Leased) -> None:
    ward.create("g1", "host2")
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 1, "its disk is seen to be written")
    cut_s = time.time()
    ward.lab.cut("host2")
    wait_until(lambda: ward.restarted("host2"), "g1 runs elsewhere")
    incident = ward.newest("host2")
    took_s = incident["hits"][0]["back_s"] - cut_s
    print(f"cut off without a BMC: g1 is back after {took_s:.1f} s; {incident['proof']['text']}")
    assert incident["proof"]["kind"] == "lease_over"
    assert "its network is cut" in incident["text"], "its heartbeat on the shared storage says so"
    assert ward.agent("host2").call("GET", "/guests")[0]["state"] != "running"
    ward.lab.mend()
    wait_until(lambda: "host2" in ward.up(), "the host is back")
    wait_until(lambda: ward.agent("host2").call("GET", "/guests") == [], "what it had left of it is dropped")
    wait_until(ward.all_leased, "it has a lease again")
    watching.end()
    assert not watching.twice
    assert [len(pids) for pids in watching.seen.values()] == [2], "two QEMUs, one after the other"


def test_guests_run_on_while_no_controller_is_there(ward: Leased) -> None:
    host = ward.where()["g1"][0]
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 1, "its disk is seen to be written")
    ward.lab.kill("controller1")
    until_s = time.time() + 3 * LEASE_S
    wait_until(lambda: time.time() > until_s, "three leases are over")
    assert ward.agent(host).call("GET", "/guests")[0]["state"] == "running"
    assert ward.lease(host)["lives"]
    ward.lab.start("controller1")
    ward.lab.wait_for_services(60.0)
    wait_until(lambda: len(ward.up()) == 3, "the controller is back")
    watching.end()
    assert [len(pids) for pids in watching.seen.values()] == [1]


def test_a_host_whose_agent_and_guard_stand_still_is_reset_by_its_watchdog(ward: Leased) -> None:
    host = ward.where()["g1"][0]
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 1, "its disk is seen to be written")
    frozen = ward.processes(host, "agent", "segue.agent.guard")
    assert len(frozen) >= 2
    cut_s = time.time()
    ward.lab.cut(host)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: ward.restarted(host), "g1 runs elsewhere")
    incident = ward.newest(host)
    print(f"frozen and cut off: g1 is back after {incident['hits'][0]['back_s'] - cut_s:.1f} s")
    off = json.loads((ward.lab.places.state).read_text())["off"]
    watching.end()
    assert off == [host], "its watchdog took its power"
    assert not watching.twice
    ward.lab.mend()
    ward.lab.start(host)
    wait_until(lambda: len(ward.up()) == 3, "the host is back")
    wait_until(lambda: ward.agent(host).call("GET", "/guests") == [], "what it had left of it is dropped")


def test_a_guard_that_is_killed_is_replaced_before_the_watchdog_bites(ward: Leased) -> None:
    wait_until(ward.all_leased, "all of them have a lease")
    host = ward.where()["g1"][0]
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 1, "its disk is seen to be written")
    ward.replace_guard(host)
    until_s = time.time() + 2 * LEASE_S
    wait_until(lambda: time.time() > until_s, "two leases are over")
    watching.end()
    assert [len(pids) for pids in watching.seen.values()] == [1], "its guest runs on"
    assert ward.lease(host)["lives"]
