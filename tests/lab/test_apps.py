"""Applications on a host of the lab, as a user runs them: real images, real containers, a client in its own network."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segue.cli.fleet import Host
from segue.lab import oci_layout, places
from segue.lab.api import Lab
from tests.lab import client, typed
from tests.lab.moves import wait_until

pytestmark = pytest.mark.lab
REDIS, PYTHON = "app-redis", "app-python"
ADDRESS = "10.77.100.1"


class Stage:
    """A host, a client, and what a user types."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.agent = Host("host1", f"unix://{lab.agent_socket('host1')}")

    def segue(self, *words: str, status: int = 0) -> str:
        return typed.segue(self.lab, *words, status=status)

    def run(self, image: str, name: str, *words: str) -> dict[str, Any]:
        archive = str(places.cache() / "images" / image / "image.tar")
        common = ("--name", name, "--host", "host1", "--address", f"{ADDRESS}/16", "-o", "json")
        made: dict[str, Any] = json.loads(self.segue("app", "run", *common, "--archive", archive, *words))
        return made

    def shown(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.agent.call("GET", f"/guests/{name}")
        return found

    def incident(self, name: str) -> dict[str, Any]:
        """The last one of that guest."""
        found = self.agent.call("GET", "/incidents")
        return next((one for one in found if one["hits"][0]["guest"] == name), {"done": []})

    def pid(self, name: str) -> int:
        """Of the container's first process, as this machine counts."""
        found = self.lab.exec("host1", ["cat", f"/run/segue/apps/{name}/pid"], check=True).stdout
        for folder in Path("/proc").glob("[0-9]*"):
            numbers, parent = _numbers(folder)
            if len(numbers) > 2 and numbers[-2] == found.strip() and self._is_ours(parent):
                return int(folder.name)
        raise AssertionError(f"host1 has no process {found}")

    def _is_ours(self, warden: str) -> bool:
        """Other labs have processes of the same number."""
        return str(self.lab.places.top).encode() in Path(f"/proc/{warden}/environ").read_bytes()

    @contextmanager
    def talk(self, port: int) -> Iterator[Talk]:
        """A connection from the client's network that lives for the whole block."""
        made: list[socket.socket] = []

        def connected() -> bool:
            try:
                made.append(
                    client.inside(self.lab, "client1", lambda: socket.create_connection((ADDRESS, port), 3))
                )
            except OSError:
                return False
            return True

        wait_until(connected, f"something listens at {port}")
        with made[0] as connection:
            yield Talk(connection)

    def delete(self, name: str) -> None:
        self.segue("app", "stop", name, "--timeout", "5s")
        self.segue("app", "delete", name, "--yes")
        self.demand_nothing_of(name)

    def demand_nothing_of(self, name: str) -> None:
        folders = ("/run/segue/apps/", "/var/lib/segue/apps/", "/run/netns/sg-", "/sys/fs/cgroup/segue-apps/")
        look = f"ls -d {' '.join(folder + name for folder in folders)}"
        left = self.lab.exec(
            "host1", ["sh", "-c", f"{look} 2>/dev/null; ip -o link | grep tap; grep {name} /proc/mounts"]
        )
        assert not left.stdout


def _numbers(folder: Path) -> tuple[list[str], str]:
    """A process's numbers, from this machine's to the innermost, and its parent."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return [], ""
    found = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return found["NSpid"], found["PPid"][0]


class Talk:
    """Lines to and fro."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile("rwb")

    def ask(self, words: str) -> str:
        self._lines.write(f"{words}\r\n".encode())
        self._lines.flush()
        return self._lines.readline().decode().strip()


@pytest.fixture(scope="module")
def stage(labs_folder: Path) -> Iterator[Stage]:
    lab = Lab(f"a{os.getpid()}")
    lab.up(hosts=1, clients=1, images=(REDIS, PYTHON))
    made = Stage(lab)
    wait_until(lambda: made.agent.call("GET", "/host"), "the agent answers")
    yield made
    lab.down()


def test_redis_from_a_file_answers_and_lives_on_without_its_agent(stage: Stage) -> None:
    made = stage.run(REDIS, "cache1", "--memory", "128MiB")
    assert (made["state"], made["phase"], made["spec"]["memory_bytes"]) == ("running", "owner", 128 << 20)
    with stage.talk(6379) as redis:
        assert redis.ask("SET colour green") == "+OK"
        before = stage.pid("cache1")
        stage.lab.exec("host1", ["sv", "kill", "segue-agent"], check=True)
        wait_until(lambda: stage.agent.call("GET", "/host"), "the agent answers again")
        assert redis.ask("STRLEN colour") == ":5", "the same connection"
        assert stage.pid("cache1") == before
        assert stage.shown("cache1")["state"] == "running"
    assert "cache1" in stage.segue("app", "list")
    assert json.loads(stage.segue("app", "show", "cache1", "-o", "json"))["phase"] == "owner"
    assert "Ready to accept connections" in stage.segue("app", "logs", "cache1", "--tail", "5")
    assert stage.segue("app", "exec", "cache1", "redis-cli", "GET", "colour") == "green\n"
    assert "no such file" in stage.segue(
        "app", "exec", "cache1", "sh", "-c", "echo no such file >&2; exit 7", status=7
    )
    stage.segue("app", "stop", "cache1", "--timeout", "5s")
    assert stage.shown("cache1")["state"] == "stopped"
    stage.segue("app", "start", "cache1")
    with stage.talk(6379) as redis:
        assert redis.ask("STRLEN colour") == ":5", "its files are there again"
    stage.delete("cache1")


def test_its_end_is_noticed_and_what_comes_then_is_as_asked(stage: Stage) -> None:
    stage.run(PYTHON, "py1", "-e", "GREETING=servus", "--restart", "on-failure")
    with stage.talk(8080) as server:
        assert server.ask("env GREETING") == "servus"
        assert server.ask("env PYTHONUNBUFFERED") == "1", "what the image says stays"
        assert server.ask("whoami") == "999 999 1"
        began = time.monotonic()
        server.ask("end 3")
        wait_until(lambda: "status 3" in stage.shown("py1")["reason"], "how it ended is noticed")
        wait_until(lambda: stage.incident("py1")["done"], "what was done is on record")
        failed = stage.incident("py1")
        assert (failed["cause"], "started again after 1 s" in failed["done"][-1]["text"]) == (
            "app_ended",
            True,
        )
        assert any("ends with 3" in seen["text"] for seen in failed["evidence"])
    with stage.talk(8080) as server:
        assert time.monotonic() - began >= 1, "not at once"
        assert server.ask("x") == "1 x", "another process"
        server.ask("end 0")
        wait_until(lambda: stage.shown("py1")["state"] == "stopped", "its end is noticed")
    assert "ends with 3" in stage.segue("app", "logs", "py1"), "what it said before"
    stage.delete("py1")


@pytest.mark.slow
def test_an_end_without_an_agent_is_noticed_afterwards(stage: Stage) -> None:
    stage.run(PYTHON, "py1")
    stage.lab.exec("host1", ["sv", "-w", "20", "down", "segue-agent"], check=True)
    os.kill(stage.pid("py1"), signal.SIGKILL)
    stage.lab.exec("host1", ["sv", "-w", "20", "up", "segue-agent"], check=True)
    wait_until(lambda: stage.agent.call("GET", "/host"), "the agent answers again")
    found = stage.shown("py1")
    assert (found["state"], found["reason"]) == ("crashed", "it ended by itself (by SIGKILL)")
    stage.delete("py1")


def test_what_it_may_do_is_little(stage: Stage) -> None:
    stage.run(PYTHON, "py1", "--user", "root")
    lines = Path(f"/proc/{stage.pid('py1')}/status").read_text().splitlines()
    status = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    rights = int(status["CapEff"], 16)
    for number, name in ((12, "NET_ADMIN"), (19, "SYS_PTRACE"), (21, "SYS_ADMIN"), (27, "MKNOD")):
        assert not rights >> number & 1, name
    for forbidden in (
        "mount -t tmpfs x /tmp",
        "mknod /tmp/x b 8 0",
        "ip link add x type dummy",
        "echo 1 >/proc/sys/kernel/sysrq",
    ):
        done = stage.agent.call("POST", "/guests/py1/exec", {"args": ["busybox", "sh", "-c", forbidden]})
        assert done["status"] != 0, forbidden
    stage.delete("py1")


def test_volumes_stay_and_one_that_is_only_read_is_not_written(stage: Stage) -> None:
    shared = stage.lab.places.shared / "words"
    shared.mkdir()
    (shared / "word").write_text("segue\n")
    volumes = ("--volume", "/data", "--volume", "/srv/segue/shared/words:/words:ro")
    stage.run(PYTHON, "py1", *volumes)
    script = "echo kept >/data/file; cat /words/word; echo x >/words/word"
    found = stage.segue("app", "exec", "py1", "sh", "-c", script, status=1)
    assert found.startswith("segue\n")
    stage.segue("app", "stop", "py1", "--timeout", "0s")
    stage.segue("app", "start", "py1")
    assert stage.segue("app", "exec", "py1", "busybox", "cat", "/data/file") == "kept\n"
    stage.delete("py1")
    assert (shared / "word").read_text() == "segue\n", "what is not the application's own stays"


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    said = stage.segue(
        "app", "run", "--host", "host1", "--name", "wrong1", "--archive", "/etc/hostname", status=2
    )
    assert "is no image" in said
    foreign = tmp_path / "foreign.tar"
    (tmp_path / "root").mkdir()
    oci_layout.write(tmp_path / "root", {}, "foreign:lab", foreign, "arm64")
    assert "linux on arm64" in stage.segue("app", "load", str(foreign), "--host", "host1", status=2)
    archive = str(places.cache() / "images" / PYTHON / "image.tar")
    start = ("app", "run", "--host", "host1", "--name", "wrong1", "--archive", archive)
    assert "no user nobody" in stage.segue(*start, "--user", "nobody", status=2)
    assert "no network red" in stage.segue(*start, "--network", "red", status=3)
    assert "absolute path" in stage.segue(*start, "--volume", "data", status=2)
    assert "short of memory" in stage.segue(*start, "--memory", "4TiB", status=4)
    stage.demand_nothing_of("wrong1")


@pytest.mark.slow
def test_after_a_power_loss_it_starts_from_its_files(stage: Stage) -> None:
    stage.run(REDIS, "cache1")
    with stage.talk(6379) as redis:
        assert redis.ask("SET colour green") == "+OK"
        assert redis.ask("WAITAOF 1 0 3000") == "*2"
    stage.lab.kill("host1")
    stage.lab.start("host1")
    wait_until(lambda: stage.agent.call("GET", "/host"), "the agent answers again")
    wait_until(lambda: stage.shown("cache1")["state"] == "running", "it runs again, and nobody asked")
    with stage.talk(6379) as redis:
        assert redis.ask("STRLEN colour") == ":5"
    stage.delete("cache1")


@pytest.mark.slow
def test_a_bundle_with_another_user_gateway_and_address_and_what_stays_when_it_is_gone(
    stage: Stage, tmp_path: Path
) -> None:
    (image,) = stage.lab.exec(
        "host1", ["sh", "-c", "ls -d /var/lib/segue/apps/.images/trees/*"]
    ).stdout.split()[:1]
    bundle = stage.lab.places.shared / "bundle"
    stage.lab.exec("host1", ["cp", "-a", image, "/srv/segue/shared/bundle"], check=True)
    common = ("app", "run", "--host", "host1", "--name", "bun1", "--network", "lan")
    addressed = ("--address", "fd77::3/64", "--gateway", "fd77::1", "--user", "app:root")
    stage.segue(*common, *addressed, "--bundle", str(bundle))
    assert stage.segue("app", "exec", "bun1", "busybox", "id") == "uid=999(app) gid=0(root)\n"
    assert "default via fd77::1" in stage.segue("app", "exec", "bun1", "busybox", "ip", "-6", "route")
    assert "inet6 fd77::3/64" in stage.segue("app", "exec", "bun1", "busybox", "ip", "-6", "addr")
    stage.segue("app", "prune", "--yes")
    left = stage.agent.call("GET", "/apps/images")
    assert [one["digest"] for one in left] == [stage.shown("bun1")["spec"]["app"]["image"]]
    stage.delete("bun1")
    stage.segue("app", "prune", "--yes")
    assert stage.agent.call("GET", "/apps/images") == []
    blobs = "/var/lib/segue/apps/.images/store/blobs/sha256"
    assert not stage.lab.exec("host1", ["ls", blobs]).stdout
