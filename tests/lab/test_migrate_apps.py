"""An application moves to and fro as a user moves it, under traffic: nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from segue.cli.fleet import Host
from segue.lab import places
from segue.lab.api import Lab
from tests.lab import client
from tests.lab.moves import wait_until
from tests.lab.typed import segue
from tests.thorough import LONG

pytestmark = pytest.mark.lab
HOPS = int(os.environ.get("SEGUE_HOPS", "4" if LONG else "2"))
ADDRESS = "10.77.100.1"
PROBE = [
    "segue",
    "probe",
    "redis",
    f"{ADDRESS}:6379",
    "--connections",
    "3",
    "--interval",
    "5ms",
    "-o",
    "json",
]


def redis(lab: Lab, *words: str) -> str:
    done = lab.exec("client1", ["redis-cli", "-h", ADDRESS, *words], timeout=10.0)
    return str(done.stdout).strip()


@pytest.fixture(scope="module")
def lab(labs_folder: object) -> Iterator[Lab]:
    made = Lab(f"m{os.getpid()}")
    made.up(hosts=2, clients=1, images=("app-redis", "app-python"))
    made.wait_for_agents(["host1", "host2"], 60.0)
    segue(made, "app", "load", str(places.cache() / "images" / "app-redis" / "image.tar"), "--name", "redis")
    yield made
    made.down()


@pytest.fixture
def cache(lab: Lab) -> Iterator[str]:
    """A redis on host1."""
    start = (
        "app",
        "run",
        "--name",
        "cache1",
        "--host",
        "host1",
        "--address",
        f"{ADDRESS}/16",
    )
    segue(lab, *start, "--memory", "128MiB", "redis")
    wait_until(lambda: redis(lab, "ping") == "PONG", "redis answers")
    yield "cache1"
    segue(lab, "app", "stop", "cache1", "--timeout", "2s")
    segue(lab, "app", "delete", "cache1", "--yes")


def states(lab: Lab) -> dict[str, str]:
    """Host -> state of cache1, of those that have something of it."""
    agents = (Host(host, f"unix://{lab.agent_socket(host)}") for host in ("host1", "host2"))
    shown = [one for agent in agents for one in agent.call("GET", "/guests")]
    return {one["host"]: one["state"] for one in shown if one["name"] == "cache1"}


@pytest.mark.timeout(120 + 10 * HOPS)
def test_to_and_fro_under_traffic(lab: Lab, cache: str) -> None:
    assert redis(lab, "set", "colour", "green") == "OK"
    talk = client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 6379), 10))
    probe = lab.popen("client1", PROBE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert probe.stderr is not None
    while not probe.stderr.readline().startswith("ready"):
        assert probe.poll() is None
    records: list[dict[str, Any]] = []
    for hop in range(HOPS):
        target = ("host2", "host1")[hop % 2]
        records.append(json.loads(segue(lab, "migrate", cache, "--to", target, "-o", "json")))
        assert records[-1]["stage"] == "done", records[-1]["failure"]
        assert states(lab) == {target: "running"}
        talk.sendall(b"PING\r\n")
        assert talk.recv(7) == b"+PONG\r\n", "the same connection"
    probe.send_signal(signal.SIGINT)
    out, error = probe.communicate(timeout=60.0)
    assert out, error
    seen = json.loads(out)
    print("blackouts, ms:", [round(one["outcome"]["blackout_s"] * 1e3) for one in records])
    print({key: seen[key] for key in ("sent", "received", "lost", "longest_gap_s", "lost_writes")})
    print(records[-1]["outcome"]["timeline"])
    assert seen["received"] > 50 * HOPS
    for count in ("lost", "failed", "broken_connections", "lost_writes"):
        assert seen[count] == 0, count
    segue(lab, "app", "stop", cache, "--timeout", "5s")
    segue(lab, "app", "start", cache)
    wait_until(lambda: redis(lab, "ping") == "PONG", "redis answers again")
    assert redis(lab, "get", "colour") == "green", "its files have come along"
    talk.close()


WRONG = (
    "import pathlib, sys; pid = pathlib.Path('/sys/fs/cgroup/segue-apps/cache1/cgroup.procs').read_text().split()[0];"
    "line = [l for l in open(f'/proc/{pid}/maps') if '[stack]' in l][0];"
    "at = int(line.split()[0].split('-')[1], 16) - 2048; memory = open(f'/proc/{pid}/mem', 'r+b', 0);"
    "memory.seek(at); byte = memory.read(1)[0]; memory.seek(at); memory.write(bytes([byte ^ 1]))"
)


@pytest.mark.slow
def test_memory_is_compared_and_one_wrong_byte_is_found(lab: Lab, cache: str) -> None:
    for target, words, least in (("host2", (), 4096), ("host1", ("--verify", "full"), 1 << 20)):
        found = json.loads(segue(lab, "migrate", cache, "--to", target, *words, "-o", "json"))
        assert found["outcome"]["verification"]["verified_bytes"] >= least, found["outcome"]
    armed = lab.agent_socket("host2").parent / "failpoints"
    armed.write_text(f'before digest=exec python3 -c "{WRONG}"\n')
    with client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 6379), 10)) as talk:
        said = segue(lab, "migrate", cache, "--to", "host2", "--verify", "full", status=1)
        assert " of process 1 differ" in said
        assert not armed.read_text()
        assert states(lab) == {"host1": "running"}
        talk.settimeout(20)
        talk.sendall(b"PING\r\n")
        assert talk.recv(7) == b"+PONG\r\n", "the same connection"


DEAF = "import socket, time; listener = socket.create_server(('', 8080)); time.sleep(1e6)"


@pytest.mark.slow
def test_one_that_does_not_accept_its_connections_stays_and_is_told_why(lab: Lab) -> None:
    segue(lab, "app", "load", str(places.cache() / "images" / "app-python" / "image.tar"), "--name", "python")
    where = ("--host", "host1", "--address", "10.77.100.2/16")
    segue(lab, "app", "run", "--name", "deaf1", *where, "python", "-c", DEAF)

    def call() -> socket.socket:
        return client.inside(lab, "client1", lambda: socket.create_connection(("10.77.100.2", 8080), 10))

    wait_until(lambda: _listens(call), "it listens")
    with call() as talk:
        said = segue(lab, "migrate", "deaf1", "--to", "host2", status=1)
        assert "a connection waits at its port 8080" in said
        talk.sendall(b"still there")
    segue(lab, "app", "stop", "deaf1", "--timeout", "0s")
    segue(lab, "app", "delete", "deaf1", "--yes")


UNREAD = """
import ctypes, os, time
libc = ctypes.CDLL(None)
os.mkdir("/dev/shm/watched")
handle = libc.inotify_init1(0)
assert libc.inotify_add_watch(handle, b"/dev/shm/watched", 0x100) >= 0
open("/dev/shm/watched/new", "w").close()
print("ready", flush=True)
time.sleep(1e6)
"""


@pytest.mark.slow
def test_one_that_does_not_read_what_inotify_tells_it_stays_and_is_told_why(lab: Lab) -> None:
    where = ("--host", "host1", "--address", "10.77.100.2/16")
    segue(lab, "app", "run", "--name", "deaf2", *where, "python", "-c", UNREAD)
    wait_until(lambda: "ready" in segue(lab, "app", "logs", "deaf2"), "it watches")
    said = segue(lab, "migrate", "deaf2", "--to", "host2", status=1)
    assert "inotify has told it something that it has not read" in said
    assert "running" in segue(lab, "app", "show", "deaf2")
    segue(lab, "app", "stop", "deaf2", "--timeout", "0s")
    segue(lab, "app", "delete", "deaf2", "--yes")


def _listens(call: Callable[[], socket.socket]) -> bool:
    try:
        call().close()
    except OSError:
        return False
    return True


PLACES = [
    ("source", "dumped", "source"),
    ("source", "restored there", "source"),
    ("source", "before released", "source"),
    ("source", "after released", "target"),
    ("target", "before owner", "target"),
    ("target", "after owner", "target"),
]
"""Whose agent is killed, where, and which host runs the application then."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("who", "place", "then"), PLACES)
def test_an_agent_is_killed(lab: Lab, cache: str, who: str, place: str, then: str) -> None:
    hosts = {"source": "host1", "target": "host2"}
    agent = Host("host1", f"unix://{lab.agent_socket('host1')}")
    with client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 6379), 10)) as talk:
        (lab.agent_socket(hosts[who]).parent / "failpoints").write_text(f"{place}=kill\n")
        agent.call("POST", f"/guests/{cache}/migrations", {"to": "host2"})
        armed = lab.agent_socket(hosts[who]).parent / "failpoints"
        wait_until(lambda: place not in armed.read_text(), "the agent was killed")
        wait_until(
            lambda: states(lab) == {hosts[then]: "running"}, "it runs on one host, and nothing is elsewhere"
        )
        talk.settimeout(20)
        talk.sendall(b"PING\r\n")
        assert talk.recv(7) == b"+PONG\r\n", "the same connection"
        assert processes(lab, "host1") + processes(lab, "host2") == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_program_in_it_and_a_follower_of_its_log_end_as_it_moves(lab: Lab, cache: str) -> None:
    """Neither hinders it, and whoever waits for one is told."""
    program = begin(lab, "app", "exec", "--timeout", "100s", cache, "busybox", "sleep", "90")
    follower = begin(lab, "app", "logs", cache, "--follow")
    wait_until(lambda: processes(lab, "host1") == 2, "both run")
    assert json.loads(segue(lab, "migrate", cache, "--to", "host2", "-o", "json"))["stage"] == "done"
    assert program.wait(20) not in {0, None}, "it did not come to its end"
    out, _ = follower.communicate(timeout=20)
    assert "Ready to accept connections" in out
    assert states(lab) == {"host2": "running"}
    assert processes(lab, "host1") == 0
    assert processes(lab, "host2") == 1
    assert redis(lab, "ping") == "PONG"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_agent_is_killed_while_a_program_runs_and_a_log_is_followed(lab: Lab, cache: str) -> None:
    """It lives on, both are told that the host does not answer, and what nobody waits for hinders no move."""
    program = begin(lab, "app", "exec", "--timeout", "100s", cache, "busybox", "sleep", "90")
    follower = begin(lab, "app", "logs", cache, "--follow")
    wait_until(lambda: processes(lab, "host1") == 2, "both run")
    with client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 6379), 10)) as talk:
        lab.exec("host1", ["sv", "kill", "segue-agent"], check=True)
        for one in (program, follower):
            _, error = one.communicate(timeout=30)
            assert one.returncode not in {0, None}
            assert "host1" in error, error
        wait_until(lambda: states(lab) == {"host1": "running"}, "the agent is there again")
        assert json.loads(segue(lab, "migrate", cache, "--to", "host2", "-o", "json"))["stage"] == "done"
        assert (processes(lab, "host1"), processes(lab, "host2")) == (0, 1)
        talk.settimeout(20)
        talk.sendall(b"PING\r\n")
        assert talk.recv(7) == b"+PONG\r\n", "the same connection"


def begin(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """A command that goes on."""
    environ = {**os.environ, "SEGUE_CONTEXT": str(lab.places.context), "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", "segue", *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes(lab: Lab, host: str) -> int:
    """The application's processes there, by the kernel's word."""
    done = lab.exec(
        host, ["sh", "-c", "cat /sys/fs/cgroup/segue-apps/cache1/cgroup.procs 2>/dev/null | wc -l"]
    )
    return int(done.stdout)
