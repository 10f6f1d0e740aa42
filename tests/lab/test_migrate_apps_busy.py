"""Applications of four sorts move to and fro while their clients keep them busy: nothing breaks and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab import places
from segue.lab.api import Lab
from tests.lab import app_clients, client, typed
from tests.lab.app_clients import Client
from tests.lab.database import BALANCES, PACKAGES, Bench, Ledger, Server
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
HOPS: Final = int(os.environ.get("SEGUE_HOPS", "4"))
HOSTS: Final = ("host1", "host2")
IMAGES: Final = ("app-redis", "app-python", "app-nginx", "app-postgres")
STANDSTILL: Final = "20s"
"""What is asked is whether anything is lost; how long it stands on a busy machine is only told."""
VALUES: Final = 300
VALUE_BYTES: Final = 1 << 20
LIMIT_S: Final = 120 + 60 * HOPS


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    made = Lab(f"b{os.getpid()}", packages=PACKAGES)
    made.up(hosts=2, clients=1, images=IMAGES)
    made.wait_for_agents(HOSTS, 60.0)
    yield made
    made.down()


class App:
    """One application, and what is known of its moves."""

    def __init__(self, lab: Lab, image: str, *words: str) -> None:
        self.lab, self.name = lab, image.removeprefix("app-")
        self.address = f"10.77.100.{IMAGES.index(image) + 1}"
        self.blackouts_s: list[float] = []
        self.totals_s: list[float] = []
        self._segue("app", "load", str(places.cache() / "images" / image / "image.tar"), "--name", self.name)
        options = [word for word in words if word.startswith("--")]
        start = ("app", "run", "--name", self.name, "--host", "host1", "--address", f"{self.address}/16")
        self._segue(*start, *options, self.name, *(word for word in words if word not in options))

    def _segue(self, *words: str) -> str:
        return typed.segue(self.lab, *words, timeout_s=120.0)

    def connect(self, port: int) -> socket.socket:
        """A connection from the client's network."""
        return client.inside(self.lab, "client1", lambda: socket.create_connection((self.address, port), 20))

    def wait(self, port: int) -> None:
        """Until something listens there."""

        def listens() -> bool:
            try:
                self.connect(port).close()
            except OSError:
                return False
            return True

        wait_until(listens, f"something listens at {port}")

    def exec(self, *words: str) -> str:
        """A program inside it."""
        return self._segue("app", "exec", self.name, *words)

    def hop(self, number: int) -> None:
        """Moves it to the host where it is not; it is then there and nowhere else. Half of the times it runs there
        before its memory is in place."""
        target = HOSTS[(number + 1) % 2]
        way = ("--post-copy-after", "0") if number % 4 > 1 else ()
        words = ("migrate", self.name, "--to", target, "--max-blackout", STANDSTILL, *way, "-o", "json")
        done = typed.run(self.lab, *words, timeout_s=120.0)
        assert done.stdout, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        if record["stage"] != "done":
            print("\n".join(self._agents_words()))
        assert record["stage"] == "done", record["failure"]
        self.blackouts_s.append(record["outcome"]["blackout_s"])
        self.totals_s.append(record["outcome"]["total_s"])
        assert self.states() == {target: "running"}

    def _agents_words(self) -> Iterator[str]:
        """The last that both agents and what they started wrote."""
        for host in HOSTS:
            log = self.lab.places.node("host", host) / "upper/var/log/segue/agent/current"
            yield f"{host}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-60:])

    def states(self) -> dict[str, str]:
        """Host -> state, of those that have something of it."""
        agents = (Host(host, f"unix://{self.lab.agent_socket(host)}") for host in HOSTS)
        shown = [one for agent in agents for one in agent.call("GET", "/guests")]
        return {one["host"]: one["state"] for one in shown if one["name"] == self.name}

    def report(self, *clients: Client) -> None:
        """What is measured is printed, what is wrong fails."""
        for one in clients:
            one.end()
        blackouts_ms = sorted(each * 1e3 for each in self.blackouts_s)
        print(
            f"\n{self.name}: {len(blackouts_ms)} hops, blackout median {median(blackouts_ms):.0f} ms, "
            f"longest {blackouts_ms[-1]:.0f} ms; total median {median(self.totals_s):.1f} s"
        )
        for one in clients:
            print(f"  {one.name}: {one.count} turns, the longest {one.longest_s * 1e3:.0f} ms {one.failure}")
        assert not [one.failure for one in clients if one.failure]
        assert all(one.count for one in clients)

    def crash(self) -> None:
        """It ends at once and starts from its files."""
        self._segue("app", "stop", self.name, "--timeout", "0s")
        self._segue("app", "start", self.name)

    def remove(self) -> None:
        """It ends, and nothing of it is left."""
        self._segue("app", "stop", self.name, "--timeout", "10s")
        self._segue("app", "delete", self.name, "--yes")


@pytest.mark.timeout(LIMIT_S)
def test_a_web_server_keeps_its_connections(lab: Lab, tmp_path: Path) -> None:
    app = App(lab, "app-nginx")
    app.wait(8080)
    script = "dd if=/dev/urandom of=/data/file bs=65536 count=256 2>/dev/null; base64 /data/file | md5sum"
    app.exec("sh", "-c", script)
    content = whole(app, "/file")
    clients: list[Client] = [app_clients.Pages(app.connect(8080)) for _ in range(12)]
    clients += [app_clients.Download(app.connect(8080), "/file", content) for _ in range(2)]
    clients += [app_clients.Visits(app.connect, 8080) for _ in range(4)]
    start(clients)
    for number in range(HOPS):
        app.hop(number)
    app.report(*clients)
    assert whole(app, "/file") == content
    app.remove()


def whole(app: App, path: str) -> bytes:
    """A file, at once."""
    with app.connect(8080) as connection, connection.makefile("rb") as lines:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n" % path.encode())
        status, body = app_clients.answer(lines.readline, lines.read)
        assert status == 200
        return body


@pytest.mark.timeout(LIMIT_S)
def test_a_server_that_holds_everything_keeps_it(lab: Lab) -> None:
    app = App(lab, "app-python", "--volume=/volume", "/etc/app/torture.py", "16")
    app.wait(8080)
    speaker = client.inside(lab, "client1", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    speaker.connect((app.address, 8081))
    packets = app_clients.Packets(speaker)
    clients: list[Client] = [app_clients.Lines(app.connect(8080), 0.005) for _ in range(6)]
    clients += [app_clients.Lines(app.connect(8080), 60.0), app_clients.Halves(app.connect(8080), 0.0)]
    clients += [app_clients.Pour(app.connect(8080)) for _ in range(2)]
    start([*clients, packets])
    with app.connect(8080) as asks, asks.makefile("rwb", buffering=0) as lines:
        for number in range(HOPS):
            app.hop(number)
            lines.write(b"check\n")
            assert json.loads(lines.readline()) == {}, f"after hop {number + 1}"
    app.report(*clients, packets)
    print(f"  of {packets.sent} packets {packets.lost} lost, {packets.twice} twice")
    assert packets.twice == 0
    # What lies in its socket when it is frozen is the one thing that CRIU leaves behind.
    assert packets.lost <= 2 * HOPS
    clocks = app.exec("busybox", "cat", "/proc/1/timens_offsets")
    assert clocks.split()[1:3] != ["0", "0"], "its clock goes on where it stood"
    app.remove()


@pytest.mark.timeout(LIMIT_S)
def test_a_database_loses_no_commit(lab: Lab, tmp_path: Path) -> None:
    app = App(lab, "app-postgres", "--memory=1GiB")
    app.wait(5432)
    server = Server(lab, app.address)
    lab.exec("client1", server.arguments("pgbench", "-i", "-q", "-s", "2", "bench"), check=True)
    server.ask("CREATE EXTENSION amcheck")
    assert server.ask("SHOW fsync; SHOW data_checksums") == [["on"], ["on"]]
    ledger, bench = Ledger(lab, server), Bench(lab, server, tmp_path, 100)
    ledger.start()
    for number in range(HOPS):
        app.hop(number)
    ledger.stop()
    account = bench.account()
    app.report()
    print(f"  {account.processed} transactions, {account.failed} failed; {len(ledger.known)} commits")
    print(f"  longest commit {ledger.longest_s * 1e3:.0f} ms\n{account.words[-600:]}")
    assert account.failed == 0
    demand_all(server, account.processed, ledger.known)
    app.crash()
    app.wait(5432)
    server.wait(60.0)
    # From here on all is read from its files: what it had in memory is gone.
    demand_all(server, account.processed, ledger.known)
    server.check()
    app.remove()


def demand_all(server: Server, processed: int, known: list[int]) -> None:
    """Every commit that a client knows of is there once, and no half of one."""
    accounts, tellers, branches, history, count = map(int, server.ask(BALANCES)[0])
    assert accounts == tellers == branches == history
    assert count == processed
    assert [int(row[0]) for row in server.ask("SELECT number FROM ledger ORDER BY number")] == known


@pytest.mark.timeout(LIMIT_S)
def test_a_big_store_keeps_every_value(lab: Lab) -> None:
    app = App(lab, "app-redis", "--memory=1GiB")
    app.wait(6379)
    digests = fill(app)
    counts: list[Client] = [Counts(app.connect(6379), f"count{number}") for number in range(3)]
    start(counts)
    for number in range(HOPS):
        app.hop(number)
    app.report(*counts)
    with app.connect(6379) as asks, asks.makefile("rb") as lines:
        for number, digest in enumerate(digests):
            asks.sendall(b"GET value%d\r\n" % number)
            assert lines.readline() == b"$%d\r\n" % VALUE_BYTES
            value = lines.read(VALUE_BYTES + 2)[:-2]
            assert hashlib.blake2b(value).digest() == digest, f"value{number}"
    app.remove()


def fill(app: App) -> list[bytes]:
    """So many values that nothing compresses; a digest of each."""
    digests: list[bytes] = []
    with app.connect(6379) as asks, asks.makefile("rb") as lines:
        for number in range(VALUES):
            value = os.urandom(VALUE_BYTES)
            digests.append(hashlib.blake2b(value).digest())
            key = b"value%d" % number
            head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, len(value))
            asks.sendall(head + value + b"\r\n")
            assert lines.readline() == b"+OK\r\n"
    return digests


class Counts(Client):
    """One key that only grows; every acknowledged step is there afterwards."""

    def __init__(self, connection: socket.socket, key: str) -> None:
        super().__init__(key)
        connection.settimeout(app_clients.LIMIT_S)
        self._connection, self._lines = connection, connection.makefile("rb")

    def turn(self) -> None:
        self._connection.sendall(b"INCR %s\r\n" % self.name.encode())
        said = self._lines.readline()
        if said != b":%d\r\n" % (self.count + 1):
            raise ValueError(f"step {self.count + 1} was answered by {said!r}")
        self.pause(0.005)


def start(clients: list[Client]) -> None:
    """All of them."""
    for one in clients:
        one.start()
