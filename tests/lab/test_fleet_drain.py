"""Controllers in the lab: hosts join, one is drained under traffic, another leader ends what a killed one began."""

from __future__ import annotations

import json
import os
import subprocess
import time
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
GUESTS: Final = ("g1", "g2", "g3")
MEMORY_BYTES: Final = 144 << 20
CONTEXT: Final = "/etc/segue/fleet.toml"
FOLDER: Final = "/etc/segue/controller"


class Fleet:
    """Three hosts that have joined, two controllers on the client's machine over one SQLite file."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.controllers: dict[str, subprocess.Popen[Any]] = {}
        address = lab.exec("client1", ["hostname", "-I"], check=True).stdout.split()[0]
        self.urls = {"c1": f"https://{address}:7440", "c2": f"https://{address}:7441"}
        self._init()
        for name in self.urls:
            self.start(name)
        wait_until(lambda: self.status()["leader"], "a controller leads")
        for host in HOSTS:
            self.join(host)
        wait_until(lambda: self.status()["hosts_up"] == len(HOSTS), "all hosts are connected")

    def _init(self) -> None:
        """The lab's hosts trust the lab's CA: the fleet takes it over."""
        for name in ("ca.pem", "ca.key"):
            text = (self.lab.places.pki / name).read_text()
            self.sh("client1", f"umask 077; mkdir -p /root/ca; printf %s '{text}' > /root/ca/{name}")
        ca = ["--ca", "/root/ca/ca.pem", "--ca-key", "/root/ca/ca.key"]
        self.lab.exec("client1", ["segue", "controller", "init", "--dir", FOLDER, *ca], check=True)
        urls = json.dumps(list(self.urls.values()))
        tls = "\n".join(f'{key} = "{FOLDER}/{file}"' for key, file in
                        (("ca", "ca.pem"), ("cert", "admin.pem"), ("key", "admin.key")))  # fmt: skip
        self.sh("client1", f"printf %s '[controller]\nurls = {urls}\n[tls]\n{tls}\n' > {CONTEXT}")

    def sh(self, machine: str, text: str) -> str:
        return self.lab.exec(machine, ["sh", "-ec", text], check=True).stdout

    def start(self, name: str) -> None:
        port = self.urls[name].rpartition(":")[2]
        argv = ["segue", "controller", "run", "--dir", FOLDER, "--store", "sqlite:////root/fleet.db"]
        argv += ["--port", port, "--name", name]
        log = (self.lab.places.top / f"{name}.log").open("ab")
        self.controllers[name] = self.lab.popen("client1", argv, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """The process inside: ours is only the one that entered the machine."""
        port = self.urls[name].rpartition(":")[2]
        self.sh(
            "client1",
            f"kill -9 $(ss -Hltnp 'sport = :{port}' | grep -o 'pid=[0-9]*' | head -1 | cut -d= -f2)",
        )
        self.controllers[name].wait(timeout=10)

    def segue(self, *words: str, code: int = 0) -> Any:
        argv = ["env", f"SEGUE_CONTEXT={CONTEXT}", "segue", *words]
        done = self.lab.exec("client1", argv, timeout=100)
        assert done.returncode == code, (words, done.stdout, done.stderr, self.logs())
        return json.loads(done.stdout) if "json" in words else done.stdout

    def status(self) -> dict[str, Any]:
        argv = ["env", f"SEGUE_CONTEXT={CONTEXT}", "segue", "status", "-o", "json"]
        done = self.lab.exec("client1", argv)
        return (
            dict(json.loads(done.stdout))
            if done.returncode == 0
            else {"leader": "", "hosts_up": 0, "guests": 0}
        )

    def join(self, host: str) -> None:
        token = self.segue("token", "create", "--host", host).strip()
        urls = [word for url in self.urls.values() for word in ("--controller", url)]
        self.lab.exec(host, ["segue", "agent", "join", token, *urls], check=True)
        self.lab.exec(host, ["sv", "-w", "20", "restart", "segue-agent"], check=True)

    def names_on(self, *hosts: str) -> list[str]:
        """As the hosts' agents say themselves."""
        agents = [Host(host, f"unix://{self.lab.agent_socket(host)}") for host in hosts]
        return sorted(guest["name"] for agent in agents for guest in agent.call("GET", "/guests"))

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.lab.places.top.glob("c?.log"))


@pytest.fixture(scope="module")
def fleet(labs_folder: object) -> Iterator[Fleet]:
    made = Lab(f"d{os.getpid()}")
    made.up(hosts=3, clients=1)
    made.wait_for_agents()
    try:
        yield Fleet(made)
    finally:
        made.down()


def addresses() -> list[str]:
    return [f"10.77.100.{number}" for number, _ in enumerate(GUESTS, start=1)]


def wait_for_answers(fleet: Fleet) -> None:
    """The guests have booted."""
    for address in addresses():
        client = Client(fleet.lab, address)
        wait_until(client.answered, f"{address} answers")
        client.close()


def probes(fleet: Fleet) -> list[Probe]:
    return [Probe(fleet.lab, "client1", "udp", f"{to}:7000", "--rate", "100") for to in addresses()]


@pytest.mark.slow
def test_a_host_is_drained_under_traffic_and_nothing_is_lost(fleet: Fleet) -> None:
    agent = Host("host1", f"unix://{fleet.lab.agent_socket('host1')}")
    for number, name in enumerate(GUESTS, start=1):
        wish = {
            "name": name,
            "image": "micro",
            "memory_bytes": MEMORY_BYTES,
            "address": f"10.77.100.{number}/16",
        }
        agent.call("POST", "/guests", wish)
    wait_until(lambda: fleet.status()["guests"] == len(GUESTS), "the guests are reported")
    wait_for_answers(fleet)
    watching = probes(fleet)
    task = fleet.segue("host", "drain", "host1", "--max-blackout", "5s", "--parallel", "2", "-o", "json")
    accounts = [probe.account() for probe in watching]
    assert task["state"] == "done", task
    assert sorted(task["moved"]) == list(GUESTS)
    assert fleet.names_on("host1") == []
    assert fleet.names_on("host2", "host3") == list(GUESTS)
    for account in accounts:
        demand_whole(account)


@pytest.mark.slow
def test_guests_get_another_qemu_through_the_controller(fleet: Fleet) -> None:
    watching = probes(fleet)
    words = ("--again", "--max-blackout", "5s", "-o", "json")
    all_of, (name, *_) = fleet.names_on("host2"), fleet.names_on("host3")
    task = fleet.segue("vm", "update", "--all-of", "host2", *words)
    assert (task["state"], sorted(task["moved"])) == ("done", all_of)
    record = fleet.segue("vm", "update", name, *words)
    assert (record["stage"], record["source"]) == ("done", record["target"])
    accounts = [probe.account() for probe in watching]
    fleet.segue("vm", "update", name, code=4)
    for account in accounts:
        demand_whole(account)


@pytest.mark.slow
def test_the_leader_is_killed_in_the_middle_and_another_one_ends_the_drain(fleet: Fleet) -> None:
    fleet.segue("host", "uncordon", "host1")
    watching = probes(fleet)
    words = ("host", "drain", "host2", "host3", "--max-blackout", "5s", "--parallel", "1", "--detach")
    fleet.segue(*words)
    wait_until(lambda: fleet.names_on("host1") != [], "a first guest moves", 60.0)
    leader = fleet.status()["leader"]
    fleet.kill(leader)
    killed_s = time.monotonic()
    wait_until(lambda: fleet.status()["leader"] not in {"", leader}, "another controller leads", 30.0)
    print(f"takeover in {time.monotonic() - killed_s:.1f} s")
    wait_until(lambda: fleet.status()["tasks"] == 0, "the drain ends", 90.0)
    accounts = [probe.account() for probe in watching]
    drains = [task for task in fleet.segue("task", "list", "-o", "json") if task["kind"] == "drain"]
    assert [task["state"] for task in drains] == ["done", "done"], drains
    assert fleet.names_on("host1") == list(GUESTS)
    assert fleet.names_on("host2", "host3") == []
    for account in accounts:
        demand_whole(account)
