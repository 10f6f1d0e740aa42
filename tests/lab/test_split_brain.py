"""Hosts about which somebody is wrong: a BMC that lies, hosts that die in the middle of a move; never two copies."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
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

    def begin_move(self, name: str, to: str) -> subprocess.Popen[bytes]:
        """Returns while its memory is on the way."""
        self.lab.set_rate(SLOW_BITS_PER_S)
        words = ["segue", "migrate", name, "--to", to]
        begun = self.lab.popen(self.asks, words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.state(to, name) == "incoming", "its copy comes in")
        return begun

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
