"""Hosts about which somebody is wrong: a BMC that lies, hosts that die in the middle of a move; never two copies."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segue.cli.fleet import Host
from segue.lab import nodes
from segue.lab.api import Lab
from tests.lab.moves import wait_until
from tests.lab.test_host_death import Ward, Writers

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(400)]
FILE = "/etc/segue/controller/bmc.toml"
SLOW_BITS_PER_S = 20_000_000


class Doubtful(Ward):
    """Three hosts in use, and a fourth that is off for good, with BMCs and a controller."""

    def state(self, host: str, name: str) -> str:
        """By its agent's own word; empty for a guest that it does not know."""
        agent = Host(host, f"unix://{self.lab.agent_socket(host)}")
        return next((str(one["state"]) for one in agent.call("GET", "/guests") if one["name"] == name), "")

    def loss(self, host: str) -> dict[str, Any]:
        """The newest incident of its loss; empty before there is one."""
        found = self.segue("incident", "list", "--host", host, "--cause", "host_lost", "-o", "json")
        return dict(found[0]) if found else {}

    def said(self, host: str) -> str:
        return str(self.loss(host).get("done"))

    def is_told(self, host: str, words: str) -> bool:
        return words in self.said(host)

    def begin_move(self, name: str, to: str) -> subprocess.Popen[bytes]:
        """Returns while its memory is on the way."""
        self.lab.set_rate(SLOW_BITS_PER_S)
        words = ["segue", "migrate", name, "--to", to]
        begun = self.lab.popen(self.asks, words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.state(to, name) == "incoming", "its copy comes in")
        return begun

    def agent_is(self, host: str, verb: str) -> None:
        """`down`, and it stays dead; `up`."""
        self.lab.exec(host, ["sv", verb, "/etc/service/segue-agent"], check=True)

    def all_up(self, hosts: int = 3) -> bool:
        return len(self.up()) == hosts


@pytest.fixture(scope="module")
def ward(labs_folder: object) -> Iterator[Doubtful]:
    lab = Lab(f"sb{os.getpid()}")
    try:
        lab.up(hosts=4, clients=0, controllers=1, bmc=True)
        lab.wait_for_services(60.0)
        made = Doubtful(lab)
        wait_until(lambda: made.all_up(4), "all hosts are connected")
        lab.kill("host4")
        made.segue("host", "revoke", "host4")
        yield made
    finally:
        Lab(lab.places.name).down()


def test_a_bmc_that_lies_starts_nothing_twice_because_of_the_lock_on_the_disk(ward: Doubtful) -> None:
    """host2's entry names the BMC of a host that is off: a cable, or a line in a file, that is wrong."""
    ward.create("g1", "host2")
    wrong, right = (nodes.bmc_address(nodes.parse(host)) for host in ("host4", "host2"))
    ward.sh(f"cp {FILE} /root/right.toml && sed -i s/{right}:/{wrong}:/ {FILE}")
    ward.lab.cut("host2")
    wait_until(
        lambda: "another process using the image" in ward.said("host2"), "QEMU refuses the second start"
    )
    assert ward.loss("host2")["proof"]["kind"] == "bmc_off", "it was believed"
    until_s = time.time() + 12.0
    while time.time() < until_s:
        assert ward.state("host2", "g1") == "running"
        assert "running" not in {ward.state(host, "g1") for host in ("host1", "host3")}
    assert not ward.loss("host2")["hits"][0]["back_s"]
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 1, "its disk is seen to be written")
    ward.sh(f"cp /root/right.toml {FILE}")
    wait_until(lambda: ward.loss("host2")["hits"][0]["back_s"], "with the right BMC it is restarted")
    watching.end()
    assert "off" in ward.segue("host", "power", "host2")
    assert ward.where()["g1"][0] != "host2"
    ward.lab.mend()
    ward.segue("host", "power", "host2", "on")
    wait_until(ward.all_up, "all hosts are back")
    wait_until(lambda: ward.state("host2", "g1") == "", "what it had left of it is dropped")


def test_the_source_dies_in_the_middle_of_a_move(ward: Doubtful) -> None:
    ward.create("g2", "host1")
    moving = ward.begin_move("g2", "host3")
    ward.lab.kill("host1")
    ward.lab.set_rate(None)
    wait_until(
        lambda: ward.where()["g2"] in {("host2", "running"), ("host3", "running")}, "it runs elsewhere"
    )
    moving.wait(60.0)
    assert ward.loss("host1")["proof"]["kind"] == "bmc_off"
    assert [ward.state(host, "g2") for host in ("host2", "host3")].count("running") == 1
    ward.segue("host", "power", "host1", "on")
    wait_until(ward.all_up, "all hosts are back")
    wait_until(lambda: ward.state("host1", "g2") == "", "what it had left of it is dropped")


def test_the_target_dies_in_the_middle_of_a_move(ward: Doubtful) -> None:
    """The source goes on, and its guest never stopped."""
    source = ward.where()["g2"][0]
    target = next(host for host in ("host1", "host2", "host3") if host not in {source, ward.where()["g1"][0]})
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 2, "both disks are seen to be written")
    watching.end()
    moving = ward.begin_move("g2", target)
    ward.lab.kill(target)
    ward.lab.set_rate(None)
    moving.wait(60.0)
    wait_until(lambda: ward.where()["g2"] == (source, "running"), "it runs where it was")
    assert all(Path(f"/proc/{pids[0]}").exists() for pids in watching.seen.values()), "in the same QEMU"
    ward.segue("host", "power", target, "on")
    wait_until(ward.all_up, "all hosts are back")


def test_only_its_agent_is_dead_and_its_guests_run_on(ward: Doubtful) -> None:
    host, state = ward.where()["g2"]
    assert state == "running"
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == 2, "both disks are seen to be written")
    ward.agent_is(host, "down")
    wait_until(lambda: "its agent, or the way to it, is what broke" in ward.said(host), "people are told")
    assert "on" in ward.segue("host", "power", host)
    ward.agent_is(host, "up")
    wait_until(ward.all_up, "all hosts are back")
    wait_until(lambda: ward.where()["g2"] == (host, "running"), "it is where it was")
    watching.end()
    assert [len(pids) for pids in watching.seen.values()] == [1, 1], "in the same QEMU"
    assert not watching.twice


def test_a_rack_that_is_away_is_left_alone(ward: Doubtful) -> None:
    """Two of three hosts, each with a guest."""
    there = {host for host, _ in ward.where().values()}
    names = ["g3", "g4"][: 2 - len(there)]
    for name, host in zip(names, sorted({"host1", "host2", "host3"} - there), strict=False):
        ward.create(name, host)
    rack = sorted({host for host, _ in ward.where().values()})[:2]
    before, watching = ward.where(), Writers(ward.lab)
    wait_until(lambda: len(watching.seen) == len(before), "all disks are seen to be written")
    for host in rack:
        ward.lab.cut(host)
    for host in rack:
        wait_until(partial(ward.is_told, host, "2 of 3 hosts are lost at once"), "people are told")
        assert "on" in ward.segue("host", "power", host)
    ward.lab.mend()
    wait_until(ward.all_up, "all hosts are back")
    wait_until(lambda: ward.where() == before, "all are where they were")
    watching.end()
    assert [len(pids) for pids in watching.seen.values()] == [1] * len(before), "in the same QEMUs"
    assert not watching.twice


def test_a_host_that_is_back_while_its_guest_is_taken_over_runs_it_nowhere_else(ward: Doubtful) -> None:
    host = ward.where()["g2"][0]
    earlier = ward.loss(host).get("id")
    watching = Writers(ward.lab)
    wait_until(lambda: len(watching.seen) >= 2, "the disks are seen to be written")
    ward.lab.cut(host)
    wait_until(lambda: ward.loss(host).get("id") not in {None, earlier}, "it is lost, and is being fenced")
    ward.lab.mend()
    wait_until(
        lambda: (found := ward.where()["g2"])[1] == "running" and found[0] != host, "it runs elsewhere"
    )
    assert ward.loss(host)["proof"]["kind"] == "bmc_off"
    ward.segue("host", "power", host, "on")
    wait_until(ward.all_up, "all hosts are back")
    wait_until(lambda: ward.state(host, "g2") == "", "what it had left of it is dropped")
    watching.end()
    assert not watching.twice
