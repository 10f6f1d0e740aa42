"""Guests that crash on a host that lives: told apart, on record with evidence, and back as their policy says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from segue.policy.crash import DEAF_S
from tests.lab.inside import Shell
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
LIMIT_S: Final = 60.0
HOOKS: Final = "/run/hooks"
RECEIVER: Final = """
import http.server
class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        open('/run/hooks', 'ab').write(body + b'\\n')
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(('127.0.0.1', 8099), Take).serve_forever()
"""


class Ward:
    """host1 with its guests, and what goes wrong there."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.agent = Host("host1", f"unix://{lab.agent_socket('host1')}")
        self._environ = {**os.environ, "SEGUE_CONTEXT": str(lab.places.context), "COLUMNS": "200"}

    def segue(self, *words: str) -> str:
        argv = [sys.executable, "-m", "segue", *words]
        done = subprocess.run(
            argv, env=self._environ, capture_output=True, text=True, check=True, timeout=LIMIT_S
        )
        return done.stdout

    def create(self, name: str, *words: str) -> dict[str, Any]:
        """A guest that has booted."""
        text = self.segue("vm", "create", name, "--host", "host1", "--memory", "128MiB", *words, "-o", "json")
        self.booted(name)
        return dict(json.loads(text))

    def metrics(self) -> str:
        with self.agent.client() as client:
            return client.get("http://agent/metrics").text

    def booted(self, name: str) -> None:
        log = self._folder(name) / "console.log"
        wait_until(lambda: log.exists() and b"micro ready" in log.read_bytes(), f"{name} has booted")

    def shown(self, name: str) -> dict[str, Any]:
        return dict(self.agent.call("GET", f"/guests/{name}"))

    def qemu(self, name: str) -> int:
        found = [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and self._runs(folder, name)
        ]
        assert len(found) == 1, found
        return found[0]

    def _runs(self, folder: Path, name: str) -> bool:
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            inside = str(self.lab.places.top) in (folder / "environ").read_text(errors="replace")
        except OSError:
            return False
        return inside and f"guest={name},process=segue-{name},debug-threads=on".encode() in words

    def _folder(self, name: str) -> Path:
        return self.lab.agent_socket("host1").parent / "guests" / name

    def type(self, name: str, line: str) -> None:
        """On its console; whatever becomes of it."""
        shell = Shell(self._folder(name) / "console.sock")
        shell.run("true")
        shell.send(line)
        shell.close()  # A console that nobody reads makes its guest wait for each letter.

    def incidents(self, name: str) -> list[dict[str, Any]]:
        """Newest first."""
        return list(json.loads(self.segue("incident", "list", "--guest", name, "-o", "json")))

    def incident(self, name: str, cause: str, *, over: bool) -> dict[str, Any]:
        """The newest one, once it is so."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [one for one in self.incidents(name) if one["cause"] == cause]
            return bool(found) and bool(found[0]["ended_s"]) == over

        wait_until(look, f"the incident {cause} of {name}, over: {over}")
        return found[0]


@pytest.fixture(scope="module")
def ward(labs_folder: Path) -> Iterator[Ward]:
    lab = Lab(f"c{os.getpid()}")
    lab.up(hosts=1, clients=0)
    made = Ward(lab)
    wait_until(lambda: made.agent.call("GET", "/host"), "the agent answers")
    lab.exec(
        "host1",
        ["sed", "-i", '1i incidents_url = "http://127.0.0.1:8099/hook"', "/etc/segue/agent.toml"],
        check=True,
    )
    lab.exec("host1", ["sv", "-w", "20", "restart", "segue-agent"], check=True)
    receiver = lab.popen("host1", ["python3", "-c", RECEIVER], stderr=subprocess.DEVNULL)
    wait_until(lambda: made.agent.call("GET", "/host"), "the agent answers again")
    yield made
    receiver.kill()
    receiver.wait()
    lab.down()


def evidence(incident: dict[str, Any], source: str) -> str:
    return next(str(one["text"]) for one in incident["evidence"] if one["source"].startswith(source))


def test_a_killed_qemu_is_back_by_itself_and_the_reason_is_on_record(ward: Ward) -> None:
    made = ward.create("killed", "--address", "10.77.100.1/16")
    before = ward.qemu("killed")
    os.kill(before, signal.SIGKILL)
    incident = ward.incident("killed", "qemu_ended", over=True)
    assert ward.qemu("killed") != before
    shown = ward.shown("killed")
    assert (shown["state"], shown["phase"], shown["spec"]) == ("running", "owner", made["spec"])
    assert evidence(incident, "QEMU's process") == "it was ended by signal 9 (SIGKILL)"
    (hit,) = incident["hits"]
    assert 0 < hit["back_s"] - hit["began_s"] < LIMIT_S
    hooked = [
        json.loads(line) for line in ward.lab.exec("host1", ["cat", HOOKS], check=True).stdout.splitlines()
    ]
    assert [one["id"] for one in hooked if one["ended_s"]] == [incident["id"]]
    told = ward.segue("incident", "show", incident["id"][:8])
    assert "it runs again" in told
    assert 'segue_incidents_total{cause="qemu_ended",deed="restart"} 1' in ward.metrics()


@pytest.mark.slow
def test_a_panic_is_left_where_its_operator_wants_that(ward: Ward) -> None:
    ward.create("panics", "--on-crash", "panic=leave")
    ward.type("panics", "echo c > /proc/sysrq-trigger")
    incident = ward.incident("panics", "panic", over=False)
    assert "Kernel panic - not syncing: sysrq triggered crash" in evidence(incident, "serial console")
    wait_until(lambda: ward.shown("panics")["state"] == "crashed", "it is cleared away")
    ward.segue("vm", "start", "panics")
    assert ward.incident("panics", "panic", over=True)["hits"][0]["back_s"] > incident["at_s"]


@pytest.mark.slow
def test_a_hang_ends_at_the_watchdog_and_the_limit_is_kept(ward: Ward) -> None:
    ward.create("hangs", "--cmdline", "segue.watchdog=2", "--restarts-per-hour", "1")
    ward.type("hangs", "killall -STOP watchdog")
    ward.incident("hangs", "watchdog", over=True)
    os.kill(ward.qemu("hangs"), signal.SIGKILL)
    left = ward.incident("hangs", "qemu_ended", over=False)
    assert "it is left to a person: it was restarted 1 times" in left["done"][-1]["text"]


@pytest.mark.slow
def test_what_died_while_its_agent_was_away_is_found_and_started_once(ward: Ward) -> None:
    ward.create("alone")
    ward.lab.exec("host1", ["sv", "-w", "20", "stop", "segue-agent"], check=True)
    os.kill(ward.qemu("alone"), signal.SIGKILL)
    ward.lab.exec("host1", ["sv", "-w", "20", "start", "segue-agent"], check=True)
    ward.incident("alone", "qemu_ended", over=True)
    assert len(ward.incidents("alone")) == 1
    assert ward.shown("alone")["state"] == "running"


@pytest.mark.slow
def test_a_qemu_that_answers_nobody_is_ended_and_started_anew(ward: Ward) -> None:
    """30 s pass before it counts as that. One that wakes up in time is left alone."""
    ward.create("deaf", "--restarts-per-hour", "3")
    stopped = ward.qemu("deaf")
    os.kill(stopped, signal.SIGSTOP)
    (hit,) = ward.incident("deaf", "deaf", over=True)["hits"]
    assert hit["back_s"] - hit["began_s"] >= DEAF_S, "it was away from its last sign of life on"
    assert ward.qemu("deaf") != stopped
    again = ward.qemu("deaf")
    ward.booted("deaf")
    ward.segue("vm", "on-crash", "deaf", "hang=leave")  # A busy machine may not look within its 5 s of rest.
    os.kill(again, signal.SIGSTOP)
    ward.incident("deaf", "deaf", over=False)
    os.kill(again, signal.SIGCONT)
    incident = ward.incident("deaf", "deaf", over=True)
    assert incident["done"][-1]["text"] == "it answers again by itself"
    assert ward.qemu("deaf") == again
