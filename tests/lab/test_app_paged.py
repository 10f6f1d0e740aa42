"""Pages of an application are put in place once it runs: whoever is killed meanwhile, it never reads a wrong one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab import places
from segue.lab.api import Lab
from tests.lab import client, typed
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
ADDRESS: Final = "10.77.100.9"
HOSTS: Final = ("host1", "host2")
PAGES: Final = 64 * 256
"""64 MiB."""
PAGER: Final = b"segue.adapters.criu.pager"
SERVER: Final = """
import socket, sys
pages = int(sys.argv[1])
memory = bytearray(pages * 4096)
for page in range(pages):
    memory[page * 4096 : page * 4096 + 8] = (page + 7).to_bytes(8, "little")
server = socket.create_server(("", 7000))
while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb", buffering=0) as lines:
        for line in lines:
            if line == b"all\\n":
                wrong = [p for p in range(pages) if memory[p * 4096 : p * 4096 + 8] != (p + 7).to_bytes(8, "little")]
                lines.write(b"%d wrong\\n" % len(wrong))
            else:
                at = int(line) * 4096
                lines.write(b"%d\\n" % int.from_bytes(memory[at : at + 8], "little"))
"""


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    made = Lab(f"p{os.getpid()}")
    made.up(hosts=2, clients=1, images=("app-python",))
    made.wait_for_agents(HOSTS, 60.0)
    archive = str(places.cache() / "images" / "app-python" / "image.tar")
    typed.segue(made, "app", "load", archive, "--name", "python", timeout_s=120.0)
    yield made
    made.down()


@pytest.fixture
def talk(lab: Lab) -> Iterator[socket.socket]:
    """A connection to the server, which has just begun on host1."""
    options = (
        "--name",
        "paged",
        "--host",
        "host1",
        "--address",
        f"{ADDRESS}/16",
        "--memory",
        "256MiB",
        "--read-only",
    )
    typed.segue(lab, "app", "run", *options, "--restart", "on-failure", "python", "-c", SERVER, str(PAGES))
    made: list[socket.socket] = []

    def answers() -> bool:
        try:
            made.append(connect(lab))
        except OSError:
            return False
        return True

    wait_until(answers, "the server answers")
    with made[0]:
        yield made[0]
    typed.segue(lab, "app", "stop", "paged", "--timeout", "0s")
    typed.segue(lab, "app", "delete", "paged", "--yes")


def connect(lab: Lab) -> socket.socket:
    return client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 7000), 60.0))


def ask(talk: socket.socket, line: str) -> str:
    talk.sendall(f"{line}\n".encode())
    said = b""
    while not said.endswith(b"\n"):
        said += (more := talk.recv(100))
        if not more:
            raise ConnectionResetError
    return said.decode().strip()


def shown(lab: Lab) -> dict[str, dict[str, Any]]:
    """Host -> what its agent says of it."""
    agents = (Host(host, f"unix://{lab.agent_socket(host)}") for host in HOSTS)
    return {
        one["host"]: one for agent in agents for one in agent.call("GET", "/guests") if one["name"] == "paged"
    }


def move(lab: Lab, target: str, *words: str) -> dict[str, Any]:
    done = typed.run(lab, "migrate", "paged", "--to", target, *words, "-o", "json", timeout_s=120.0)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pagers(lab: Lab, host: str) -> list[int]:
    found = []
    for pid in lab.host_pids(host):
        try:
            if PAGER in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return sorted(found)


def is_clear(lab: Lab, *hosts: str) -> bool:
    """Nothing is left of a move there."""
    return not any(pagers(lab, host) or rooms(lab, host) for host in hosts)


def rooms(lab: Lab, host: str) -> list[Path]:
    return list(Path(f"/proc/{lab.host_pids(host)[0]}/root/run/segue/moves").glob("*"))


def held(lab: Lab, target: str) -> int:
    """Moves it while whoever fills its memory is kept from it once it runs; its number."""
    armed = lab.agent_socket(target).parent / "failpoints"
    # The pager's second process is the one that works; it is there before anything is restored.
    stop = "for p in /proc/[0-9]*; do grep -qs criu[.]pager $p/cmdline && echo ${p#/proc/}; done | sort -n | tail -1"
    armed.write_text(f"before owner=exec kill -STOP $({stop})\n")
    try:
        assert move(lab, target, "--post-copy-after", "0")["stage"] == "done"
    finally:
        armed.unlink()
    return pagers(lab, target)[-1]


def test_all_is_there_and_nothing_stays_behind(lab: Lab, talk: socket.socket) -> None:
    for number, target in enumerate(("host2", "host1", "host2")):
        assert move(lab, target, "--ladder", "firm")["stage"] == "done"
        assert ask(talk, str(number)) == str(number + 7)
        assert ask(talk, "all") == "0 wrong"
        wait_until(
            lambda: not any(pagers(lab, host) or rooms(lab, host) for host in HOSTS),
            "the move is cleared away",
        )


@pytest.mark.slow
def test_it_goes_on_and_moves_on_once_it_has_its_memory(lab: Lab, talk: socket.socket) -> None:
    filler = held(lab, "host2")
    assert pagers(lab, "host2")
    os.kill(filler, signal.SIGCONT)
    assert move(lab, "host1")["stage"] == "done"
    assert ask(talk, "all") == "0 wrong"


@pytest.mark.slow
def test_an_agent_that_is_restarted_meanwhile_lets_it_be_filled(lab: Lab, talk: socket.socket) -> None:
    filler = held(lab, "host2")
    lab.exec("host2", ["sv", "-w", "20", "restart", "segue-agent"], check=True)
    lab.wait_for_agents(("host2",), 60.0)
    assert rooms(lab, "host2")
    os.kill(filler, signal.SIGCONT)
    assert ask(talk, "all") == "0 wrong"
    wait_until(lambda: is_clear(lab, "host2"), "the move is cleared away")
    assert move(lab, "host1")["stage"] == "done"
    assert ask(talk, "all") == "0 wrong"


def test_where_the_filler_is_killed_it_ends_and_starts_anew(lab: Lab, talk: socket.socket) -> None:
    filler = held(lab, "host2")
    os.kill(filler, signal.SIGKILL)
    seen: list[str] = []
    with contextlib.suppress(ConnectionError):
        while len(seen) < 2:  # The first answer may have been under way.
            seen.append(ask(talk, "all"))
    assert seen in ([], ["0 wrong"])
    wait_until(lambda: shown(lab)["host2"]["state"] == "running", "it is started again")
    wait_until(lambda: is_clear(lab, "host2"), "the move is cleared away")
    assert set(shown(lab)) == {"host2"}


@pytest.mark.slow
def test_one_that_is_stopped_meanwhile_leaves_nothing(lab: Lab, talk: socket.socket) -> None:
    filler = held(lab, "host2")
    typed.segue(lab, "app", "stop", "paged", "--timeout", "0s")
    os.kill(filler, signal.SIGCONT)
    wait_until(lambda: is_clear(lab, "host2"), "the move is cleared away")
    typed.segue(lab, "app", "start", "paged")
