"""A fleet with several controllers on etcd in the lab, its guests, and what a test does to and asks of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from segue.cli.central import Controller
from segue.cli.fleet import Host
from segue.errors import SegueError
from segue.lab.api import Lab
from tests.lab.client import Client, enter_network
from tests.lab.moves import ENDS, wait_until
from tests.lab.traffic import Probe, demand_whole

MEMORY_BYTES: Final = 144 << 20
MEMBERS: Final = ("etcd1", "etcd2", "etcd3")
NOBODY: Final = {"leader": "", "epoch": 0, "hosts_up": 0, "guests": 0, "tasks": -1}


class HaFleet:
    """Three controllers, three etcd members, some hosts, one client."""

    def __init__(self, name: str, hosts: int) -> None:
        self.lab = Lab(name)
        self.hosts = tuple(f"host{number}" for number in range(1, hosts + 1))
        self.guests: dict[str, str] = {}
        """Name -> address."""

    def up(self) -> None:
        self.lab.up(hosts=len(self.hosts), clients=1, controllers=3, etcd=3)
        self.lab.wait_for_services(60.0)
        pki, urls = self.lab.places.pki, [f"https://10.77.0.13{n}:7440" for n in (1, 2, 3)]
        tls = {
            key: str(pki / file)
            for key, file in (("ca", "ca.pem"), ("cert", "admin.pem"), ("key", "admin.key"))
        }
        self._controllers = Controller(tuple(urls), tls)
        self._in_client = ThreadPoolExecutor(
            max_workers=1, initializer=enter_network, initargs=(self.lab, "client1")
        )
        self.wait_whole()

    def wait_whole(self, limit_s: float = 60.0) -> None:
        """Somebody leads, and every host is connected to it."""
        wait_until(lambda: self.status()["hosts_up"] == len(self.hosts), "all hosts are connected", limit_s)

    # Asking

    def segue(self, *words: str, code: int = 0, timeout_s: float = 200.0) -> Any:
        """`segue` on the client's machine; its answer as data where that was asked for."""
        done = self.lab.exec("client1", ["segue", *words], timeout=timeout_s)
        assert done.returncode == code, (words, done.stdout, done.stderr, self.logs())
        return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        """As the controllers say; nobody's where none answers."""
        try:
            return dict(self.call("GET", "/status"))
        except SegueError:
            return NOBODY

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The controllers' API, called from the client's network as `segue` there does."""
        return self._in_client.submit(self._controllers.call, method, path, body).result()

    def ask_one(self, controller: str, method: str, path: str) -> Any:
        """What this controller says, and no other."""
        number = int(controller.removeprefix("controller"))
        one = Controller((self._controllers.urls[number - 1],), self._controllers.tls)
        return self._in_client.submit(one.call, method, path, None).result()

    def leader(self) -> str:
        return str(self.status()["leader"])

    def wait_for_another(self, leader: str, limit_s: float = 60.0) -> str:
        """Who leads now, and is not that one."""
        wait_until(lambda: self.leader() not in {"", leader}, f"another than {leader} leads", limit_s)
        return self.leader()

    def task(self, number: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/tasks/{number}"))

    def agent(self, host: str) -> Host:
        return Host(host, f"unix://{self.lab.agent_socket(host)}")

    def names_on(self, *hosts: str) -> list[str]:
        """As the hosts' agents say themselves."""
        return sorted(g["name"] for host in hosts for g in self.agent(host).call("GET", "/guests"))

    def migrations(self, *hosts: str) -> list[dict[str, Any]]:
        """Of these hosts' own journals, or of all."""
        found: list[dict[str, Any]] = []
        for host in hosts or self.hosts:
            found += self.agent(host).call("GET", "/migrations")
        return found

    def under_way(self) -> list[dict[str, Any]]:
        return [record for record in self.migrations() if record["stage"] not in ENDS]

    def logs(self) -> str:
        """The last words of every controller."""
        said = []
        for number in (1, 2, 3):
            with suppress(SegueError):
                argv = ["tail", "-n", "25", "/var/log/segue/controller/current"]
                said.append(f"controller{number}:\n{self.lab.exec(f'controller{number}', argv).stdout}")
        return "\n".join(said)

    def sh(self, machine: str, text: str) -> str:
        """A shell command there, which must succeed."""
        done = self.lab.exec(machine, ["sh", "-ec", text])
        assert done.returncode == 0, (machine, text, done.stdout, done.stderr)
        return done.stdout

    def member_is_well(self, member: str) -> bool:
        """It reads with a majority, as etcd's own tool sees."""
        number = int(member.removeprefix("etcd"))
        ends = f"https://10.77.0.{150 + number}:2379"
        return self.lab.exec(member, ["etcdctl", "get", "any", "--endpoints", ends]).returncode == 0

    # Guests and their traffic

    def make_guests(self, host: str, names: Sequence[str]) -> None:
        """They have booted when this returns."""
        for name in names:
            self.guests[name] = f"10.77.100.{len(self.guests) + 1}"
            wish = {"name": name, "image": "micro", "memory_bytes": MEMORY_BYTES}
            self.agent(host).call("POST", "/guests", {**wish, "address": f"{self.guests[name]}/16"})
        for name in names:
            client = Client(self.lab, self.guests[name])
            wait_until(client.answered, f"{name} answers", 120.0)
            client.close()

    def traffic(self, kinds: Sequence[str] = ("udp", "http")) -> list[Probe]:
        """Packets and requests for every guest, until they are asked."""
        found = [self._probe(kind, address) for address in self.guests.values() for kind in kinds]
        for probe in found:
            probe.wait_ready()
        return found

    def _probe(self, kind: str, address: str) -> Probe:
        words = {
            "udp": (f"{address}:7000", "--rate", "50"),
            "http": (f"http://{address}:8080/", "--interval", "100ms"),
        }
        return Probe(self.lab, "client1", kind, *words[kind], wait=False)

    def home(self) -> str:
        """The host that has all guests."""
        return next(host for host in self.hosts if self.names_on(host) == sorted(self.guests))

    def drain(self, parallel: int = 1, **limits: float) -> Drain:
        """Begins to empty the host that has all guests; every other one takes them."""
        source = self.home()
        for host in self.hosts:
            self.call("PATCH", f"/hosts/{host}", {"cordoned": False})
        known = {record["id"] for record in self.migrations(source)}
        wish = {
            "hosts": [source],
            "parallel": parallel,
            "limits": {"blackout_s": 5.0, "deadline_s": 120.0, **limits},
        }
        task = self.call("POST", "/drains", wish)
        return Drain(self, source, str(task["id"]), frozenset(known))

    # Faults

    def power(self, machine: str, verb: str) -> None:
        """A signal to the service of a controller or an etcd member: pause, cont, kill (runit starts it again)."""
        name = "etcd" if machine.startswith("etcd") else "segue-controller"
        self.lab.exec(machine, ["sv", verb, f"/etc/service/{name}"], check=True)

    def cut_from_store(self, controller: str) -> None:
        for member in MEMBERS:
            self.lab.cut(f"{controller}--{member}")

    def mend(self) -> None:
        """All cuts, all machines, all processes as they were."""
        self.lab.mend()
        for machine in (*MEMBERS, *(f"controller{number}" for number in (1, 2, 3))):
            self.lab.start(machine)
            with suppress(SegueError):
                self.power(machine, "cont")


class Drain:
    """One that was begun through the controllers."""

    def __init__(self, fleet: HaFleet, source: str, task: str, known: frozenset[str]) -> None:
        self._fleet = fleet
        self._known = known
        self.source = source
        self.task = task

    def begun(self) -> list[dict[str, Any]]:
        """Its migrations, as the source's journal has them."""
        return [m for m in self._fleet.migrations(self.source) if m["id"] not in self._known]

    def wait_begun(self, limit_s: float = 60.0) -> None:
        wait_until(self.begun, "a first migration begins", limit_s)

    def end(self, limit_s: float = 200.0) -> None:
        """It empties the host, and no guest moved twice."""
        fleet = self._fleet
        wait_until(self._ended, f"the drain ends {fleet.status()}", limit_s)
        task = fleet.task(self.task)
        assert task["state"] == "done", (task, fleet.logs())
        assert sorted(task["moved"]) == sorted(fleet.guests)
        assert fleet.names_on(self.source) == []
        assert fleet.names_on(*fleet.hosts) == sorted(fleet.guests)
        done = sorted(m["guest"] for m in self.begun() if m["stage"] == "done")
        assert done == sorted(fleet.guests)

    def _ended(self) -> object:
        return self._fleet.task(self.task)["ended_s"]


def demand_nothing_lost(probes: Sequence[Probe]) -> None:
    """Of all of them, ended now."""
    for probe in probes:
        probe.stop()
    for account in [probe.account() for probe in probes]:
        demand_whole(account)


def demand_all_answer(fleet: HaFleet) -> None:
    """The guests run, whatever became of the controllers."""
    for name, address in fleet.guests.items():
        client = Client(fleet.lab, address)
        wait_until(client.answered, f"{name} answers", 20.0)
        client.close()
