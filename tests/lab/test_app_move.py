"""An application moves between two hosts by CRIU alone, to and fro, while a client's connection lives on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from segue.lab.api import Lab
from tests.lab.app_stage import ADDRESS, BUNDLE, PORT, Half, Stage
from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab
CLIENT = f"""
import socket, sys
made = socket.create_connection(("{ADDRESS}", {PORT}), 20)
for line in sys.stdin:
    made.sendall(b"x")
    print(made.recv(100).decode().strip(), flush=True)
"""


class Client:
    """One connection, for as long as the test lives."""

    def __init__(self, lab: Lab) -> None:
        argv = ["python3", "-c", CLIENT]
        self._process = lab.popen("client1", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> tuple[int, int, int]:
        """The server's answer: requests, bytes in its deleted file, and a digest of its memory."""
        self.send()
        return self.hear()

    def send(self) -> None:
        """A request, which may have to wait."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def hear(self) -> tuple[int, int, int]:
        """Its answer."""
        assert self._process.stdout is not None
        first, second, third = map(int, self._process.stdout.readline().split())
        return first, second, third

    def close(self) -> None:
        """Hangs up."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Stage:
    made = Stage(lab)
    made.start("host1")
    return made


@pytest.fixture
def client(stage: Stage) -> Iterator[Client]:
    where = stage.runs_on()
    assert len(where) == 1
    made = Client(stage.lab)
    yield made
    made.close()


def test_it_moves_to_and_fro_and_its_connection_lives_on(stage: Stage, client: Client) -> None:
    count, _, digest = client.ask()
    for source, target in (("host1", "host2"), ("host2", "host1")):
        leaving, coming = stage.begin(source, target)
        stage.stop_and_restore(source, leaving)
        assert stage.runs_on() == []
        client.send()
        assert coming.tell("go").startswith("ran=")
        stage.plug(target)
        assert leaving.tell("go").startswith("ok")
        assert stage.runs_on() == [target]
        leaving.close()
        coming.close()
        count += 1
        assert client.hear() == (count, count, digest)


def demand_back(stage: Stage, client: Client, halves: tuple[Half, Half], before: tuple[int, int]) -> None:
    """Both halves are told to take it back: it goes on at its source, with all that it had."""
    leaving, coming = halves
    count, digest = before
    assert coming.tell("drop") == "ok"
    assert stage.runs_on() == []
    stage.plug("host1")
    assert leaving.tell("undo").startswith("ok")
    wait_until(lambda: stage.runs_on() == ["host1"], "it runs on its source again")
    assert client.ask() == (count + 1, count + 1, digest)
    for half in (leaving, coming):
        half.close()


def test_taken_back_at_the_last_moment_it_goes_on_at_the_source(stage: Stage, client: Client) -> None:
    count, _, digest = client.ask()
    leaving, coming = stage.begin("host1", "host2")
    stage.stop_and_restore("host1", leaving)
    demand_back(stage, client, (leaving, coming), (count, digest))


def test_a_restore_that_fails_is_heard_of_and_costs_nothing(stage: Stage, client: Client) -> None:
    count, _, digest = client.ask()
    stage.lab.exec(
        "host2", ["mv", f"{BUNDLE}/rootfs/server.py", f"{BUNDLE}/config.json", "/root"], check=True
    )
    leaving, coming = stage.begin("host1", "host2")
    assert leaving.tell("freeze").startswith("ok")
    stage.unplug("host1")
    assert leaving.tell("dump").startswith("ok")
    assert leaving.tell("restored").startswith("failed")
    assert coming.tell("complete").startswith("failed")
    stage.plug("host1")
    assert leaving.tell("undo").startswith("ok")
    assert coming.tell("drop") == "ok"
    wait_until(lambda: stage.runs_on() == ["host1"], "it runs on its source again")
    assert client.ask() == (count + 1, count + 1, digest)
    stage.lab.exec("host2", ["mv", "/root/server.py", f"{BUNDLE}/rootfs"], check=True)
    stage.lab.exec("host2", ["mv", "/root/config.json", BUNDLE], check=True)
    for half in (leaving, coming):
        half.close()


@pytest.mark.slow
def test_neither_half_decides_when_its_agent_is_killed(stage: Stage, client: Client) -> None:
    count, _, digest = client.ask()
    leaving, coming = stage.begin("host1", "host2")
    stage.stop_and_restore("host1", leaving)
    leaving.kill()
    coming.kill()
    assert stage.runs_on() == []
    leaving, coming = stage.again("host1", "leave"), stage.again("host2", "arrive")
    demand_back(stage, client, (leaving, coming), (count, digest))
