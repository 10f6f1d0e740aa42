"""An application under traffic leaves a loaded host by the balancer, a failing one by what its sensors say, and a third
one as it is drained.

The load is real; the errors of memory are shown by files, as in test_fleet_failing.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab import places
from segue.lab.api import Lab
from tests.lab import app_clients, client
from tests.lab.moves import wait_until
from tests.lab.test_fleet_balance import BURNS, BUSY_CORES, SEEN_S
from tests.lab.test_fleet_failing import LIMIT_S, OPTIONS, Story
from tests.lab.test_host_verify import DIMM, EDAC
from tests.lab.test_migrate_apps_busy import Counts
from tests.lab.traffic import Probe, demand_whole
from tests.lab.typed import segue

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]
HOSTS: Final = ("host1", "host2", "host3")
IMAGE: Final = "app-redis"
STORE, MACHINE = "store", "m1"
STORE_AT, MACHINE_AT = "10.77.100.9", "10.77.100.1"
BUSY: Final = "local n = 0; for i = 1, 300000 do n = n + i end; return n"
VALUES: Final = 64
VALUE_BYTES: Final = 1 << 20


class Burns(app_clients.Client):
    """Keeps the store at work."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__("burns")
        connection.settimeout(app_clients.LIMIT_S)
        self._connection, self._lines = connection, connection.makefile("rb")

    def turn(self) -> None:
        self._connection.sendall(b"*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n" % (len(BUSY), BUSY.encode()))
        if (said := self._lines.readline()) != b":45000150000\r\n":
            raise ValueError(f"it counted to {said!r}")


class Apps(Story):
    """With applications among the guests."""

    def where(self) -> dict[str, str]:
        shown = [one for kind in ("vm", "app") for one in self.segue(kind, "list", "-o", "json")]
        return {one["name"]: one["host"] for one in shown if one["state"] == "running"}

    def wants(self) -> dict[str, float]:
        """What each guest uses and waits for."""
        every = [guest for host in self.segue("top", "--once", "-o", "json") for guest in host["guests"]]
        return {g["name"]: sum(g["use"]["now"][key] for key in ("cpu_cores", "waiting_cores")) for g in every}

    def connect(self) -> socket.socket:
        """To the store, from the client's network."""
        return client.inside(self.lab, "client1", lambda: socket.create_connection((STORE_AT, 6379), 20))

    def listens(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def levels(self) -> dict[str, str]:
        return {one["host"]: one["level"] for one in self.health()["reports"]}

    def errors(self, host: str, corrected: int) -> None:
        self.sh(host, f"echo {corrected} > {DIMM}/dimm_ce_count")


@pytest.fixture
def story(labs_folder: Path) -> Iterator[Apps]:
    lab = Lab(f"fa{os.getpid()}")
    try:
        lab.up(hosts=3, clients=1, controllers=1, images=("micro", IMAGE))
        lab.wait_for_services(60.0)
        made = Apps(lab)
        made.sh("controller1", OPTIONS)
        for host in HOSTS:
            made.sh(host, EDAC)
        wait_until(lambda: made.up() == 3, "all hosts are connected")
        yield made
    finally:
        Lab(lab.places.name).down()


def fill(story: Apps) -> list[bytes]:
    """Values that nothing compresses."""
    values = [os.urandom(VALUE_BYTES) for _ in range(VALUES)]
    with story.connect() as asks, asks.makefile("rb") as lines:
        for number, value in enumerate(values):
            key = b"value%02d" % number
            asks.sendall(b"*3\r\n$3\r\nSET\r\n$7\r\n%s\r\n$%d\r\n%s\r\n" % (key, len(value), value))
            assert lines.readline() == b"+OK\r\n"
    return values


def demand_all(story: Apps, values: list[bytes]) -> None:
    with story.connect() as asks, asks.makefile("rb") as lines:
        for number, value in enumerate(values):
            asks.sendall(b"GET value%02d\r\n" % number)
            assert lines.readline() == b"$%d\r\n" % VALUE_BYTES
            assert lines.read(VALUE_BYTES + 2)[:-2] == value, f"value{number}"


def test_an_application_leaves_a_loaded_host_a_failing_one_and_a_drained_one(story: Apps) -> None:
    archive = str(places.cache() / "images" / IMAGE / "image.tar")
    segue(story.lab, "app", "load", archive, "--name", STORE, timeout_s=120.0)
    words = ("--host", "host1", "--address", f"{STORE_AT}/16", "--memory", "512MiB")
    story.segue("app", "run", "--name", STORE, *words, STORE)
    place = ("--host", "host1", "--address", f"{MACHINE_AT}/16", "--memory", "144MiB", "--cmdline", BURNS)
    story.segue("vm", "create", MACHINE, *place)
    story.segue("vm", "wish", MACHINE, "--pin", "it has a licence for this host")
    wait_until(story.listens, "the store listens")
    values = fill(story)
    counts: list[app_clients.Client] = [Counts(story.connect(), f"count{number}") for number in range(3)]
    clients = [*counts, Burns(story.connect())]
    for one in clients:
        one.start()

    def busy() -> bool:
        wants = story.wants()
        assert not [one.failure for one in clients if one.failure]
        return len(wants) == 2 and min(wants.values()) > BUSY_CORES

    wait_until(busy, "the load is seen", SEEN_S)
    probe = Probe(story.lab, "client1", "udp", f"{MACHINE_AT}:7000", "--rate", "100")
    task = story.segue("balance", "apply", "--max-blackout", "5s", "-o", "json")
    assert task["state"] == "done", task
    assert task["moved"] == [STORE], task
    loaded = story.where()[STORE]
    assert loaded != "host1"
    story.told(f"the balancer has moved the store to {loaded}: {task['note']}")

    wait_until(lambda: story.levels().get(loaded) == "healthy", "its memory is seen", LIMIT_S)
    story.errors(loaded, 41)
    wait_until(lambda: story.levels()[loaded] == "suspect", "it is suspect", LIMIT_S)
    story.errors(loaded, 90)
    wait_until(lambda: story.levels()[loaded] == "failing", "it fails", LIMIT_S)
    story.told(f"{loaded} fails")
    wait_until(lambda: story.where().get(STORE, loaded) != loaded, "the store has left it", LIMIT_S)
    story.told(f"the store has left it for {story.where()[STORE]}")
    drains = [task for task in story.segue("task", "list", "-o", "json") if task["kind"] == "drain"]
    assert [task["by"] for task in drains] == ["health"]
    wait_until(
        lambda: story.segue("task", "list", "-o", "json")[0]["state"] == "done", "all have left", LIMIT_S
    )

    found = story.where()[STORE]
    task = story.segue("host", "drain", found, "--max-blackout", "5s", "-o", "json")
    assert task["state"] == "done", task
    assert task["moved"] == [STORE], task
    assert story.where()[STORE] == "host1", "the other one is not to be trusted"
    story.told(f"{found} is drained")

    for one in clients:
        one.end()
    assert not [one.failure for one in clients if one.failure]
    demand_all(story, values)
    demand_whole(probe.account())
    assert story.where()[MACHINE] == "host1"
    moves = [one for one in story.segue("migration", "list", "-o", "json") if one["guest"] == STORE]
    assert [one["stage"] for one in moves] == ["done", "done", "done"]
    for one in clients:
        print(f"{one.name}: {one.count} turns, the longest {one.longest_s * 1e3:.0f} ms")
