"""A maintenance in the lab: two of three hosts run a command and reboot, one after the other, and no client notices."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.client import Client
from tests.lab.moves import wait_until
from tests.lab.traffic import Probe, demand_whole

pytestmark = pytest.mark.lab
HOSTS: Final = ("host1", "host2", "host3")
GUESTS: Final = {"g1": "host1", "g2": "host2"}
MEMORY_BYTES: Final = 144 << 20
ORDER: Final = """
name: kernel
title: a new kernel
scope: {hosts: [host1, host2]}
strategy: {max_blackout: 5s, parallel: 1}
procedure:
  - cordon
  - drain
  - run: |
      echo "patched $(hostname)" >>/root/patched
      touch /run/patched
      cat /root/patched
    name: patch
    within: 30s
  - reboot: {within: 60s}
  - health: {within: 60s}
  - verify
  - uncordon
"""


class Fleet:
    """Three hosts, a controller, and a client."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.wait_for_services(60.0)
        wait_until(lambda: self.segue("status", "-o", "json")["hosts_up"] == len(HOSTS), "all are connected")

    def segue(self, *words: str, code: int = 0, stdin: str = "") -> Any:
        done = self.lab.exec("client1", ["segue", *words], input=stdin, timeout=200)
        assert done.returncode == code, (words, done.stdout, done.stderr, self.log())
        return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr

    def log(self) -> str:
        return self.lab.exec("controller1", ["tail", "-n", "40", "/var/log/segue/controller/current"]).stdout

    def agent(self, host: str) -> Host:
        return Host(host, f"unix://{self.lab.agent_socket(host)}")

    def boot(self, host: str) -> str:
        return str(self.agent(host).call("GET", "/inventory")["boot"])

    def make(self, name: str, host: str, address: str) -> None:
        wish = {"name": name, "image": "micro", "memory_bytes": MEMORY_BYTES, "address": f"{address}/16"}
        self.agent(host).call("POST", "/guests", wish)


@pytest.fixture(scope="module")
def fleet(labs_folder: object) -> Iterator[Fleet]:
    lab = Lab(f"mnt{os.getpid()}")
    lab.up(hosts=len(HOSTS), clients=1, controllers=1)
    try:
        yield Fleet(lab)
    finally:
        lab.down()


def test_two_hosts_are_patched_and_rebooted_under_traffic(fleet: Fleet) -> None:
    addresses = {name: f"10.77.100.{number}" for number, name in enumerate(GUESTS, start=1)}
    for name, host in GUESTS.items():
        fleet.make(name, host, addresses[name])
    for address in addresses.values():
        client = Client(fleet.lab, address)
        wait_until(client.answered, "it answers", 120.0)
        client.close()
    foreseen = fleet.segue("maintenance", "plan", "-", "-o", "json", stdin=ORDER)
    assert [batch["hosts"] for batch in foreseen["batches"]] == [["host1"], ["host2"]], foreseen
    (entry,) = fleet.segue("maintenance", "calendar", "--guest", "g1", "-o", "json")
    assert (entry["name"], entry["hosts"], entry["missing"]) == ("kernel", ["host1", "host2"], [])
    assert fleet.segue("maintenance", "calendar", "--guest", "g3", "-o", "json") == []
    before = {host: fleet.boot(host) for host in HOSTS}
    watching = [
        Probe(fleet.lab, "client1", kind, *words, wait=False)
        for address in addresses.values()
        for kind, words in (
            ("udp", (f"{address}:7000", "--rate", "50")),
            ("http", (f"http://{address}:8080/", "--interval", "100ms")),
        )
    ]
    for probe in watching:
        probe.wait_ready()
    said = fleet.segue("maintenance", "start", "kernel")
    print(said)
    for probe in watching:
        probe.stop()
    for account in [probe.account() for probe in watching]:
        demand_whole(account)
    shown = fleet.segue("maintenance", "report", "kernel", "-o", "json")
    assert shown["state"] == "done", shown
    after = {host: fleet.boot(host) for host in HOSTS}
    assert [host for host in HOSTS if after[host] != before[host]] == ["host1", "host2"]
    hosts = {host["host"]: host for host in shown["hosts"]}
    kept = fleet.lab.exec("host2", ["sh", "-c", "cat /root/patched; ls /run/patched"])
    assert kept.stdout == "patched host2\n", "its disk is the same, and what is in memory is gone"
    assert [p["output"] for p in hosts["host2"]["passed"] if p["title"] == "run patch"] == ["patched host2\n"]
    # g1 went to host3, as host2 was next; g2 to host1, which was done, or to host3.
    assert [(o["guest"], o["target"]) for o in hosts["host1"]["outages"]] == [("g1", "host3")]
    assert [o["guest"] for o in hosts["host2"]["outages"]] == ["g2"]
    assert all(outage["blackout_s"] > 0 for host in hosts.values() for outage in host["outages"])
    assert "g1  host1 -> host3" in fleet.segue("maintenance", "report", "kernel")
