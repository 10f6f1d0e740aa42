"""The stage of the fault cases for an application: two hosts, a client, and a witness in a container."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from segue.lab import places
from tests.lab import app_calm, calm, witness
from tests.lab.app_census import AppCensus
from tests.lab.app_client import AppClient
from tests.lab.moves import Move, wait_until
from tests.lab.scene import ADDRESS, GUEST, Scene

IMAGE: Final = "app-python"
HOSTS: Final = ("host1", "host2")
MEMORY_MIB: Final = 16
APPS: Final = "/var/lib/segue/apps"
APPS_BYTES: Final = 400 << 20
"""Of each host's file system for applications: an image and what they write, and small enough to be filled."""
PROGRAMS: Final = {"porter": b"segue.adapters.criu.ship", "warden": b"/oci/warden.py"}
"""What is in the command line of the processes that carry a move's files, or watch over the application."""


_rest = threading.Event()


class AppScene(Scene):
    """A scene whose guest is an application. It is called as the machine is, so that the cases can be the same."""

    hosts = HOSTS
    census: AppCensus  # type: ignore[assignment]
    client: AppClient  # type: ignore[assignment]
    on_demand = True
    """It may run before its memory is in place: not where an older agent is there, which cannot do that."""
    _moves = 0

    def up(self) -> None:
        """Makes the hosts and the application, and waits until it answers."""
        self.lab.up(hosts=len(self.hosts), clients=1, images=(IMAGE,), variants=self._variants)
        for host in self.hosts:
            self.wait_for_agent(host)
            self.run(host, "sh", "-ec", _SMALL_PLACE)
            self.restart(host)
        ticks = self.lab.places.shared / "ticks"
        ticks.mkdir(exist_ok=True)
        ticks.chmod(0o777)
        self._load()
        self.census = AppCensus(self.lab, self.hosts, GUEST, ticks / "ticks")
        self.client = AppClient(self.lab, ADDRESS)
        self.is_up = True
        self._run()

    def _load(self, *hosts: str) -> None:
        archive = places.cache() / "images" / IMAGE / "image.tar"
        only = [word for host in hosts for word in ("--host", host)]
        self.must("app", "load", str(archive), "--name", "witness", *only)

    def _run(self) -> None:
        """As root: not every machine that runs labs lets an agent look into other users' limits."""
        options = ("--name", GUEST, "--host", "host1", "--address", f"{ADDRESS}/16", "--user", "root")
        volumes = ("--memory", "128MiB", "--volume", "/srv/segue/shared/ticks:/ticks")
        program = Path(witness.__file__).read_text(encoding="utf-8")
        self.must("app", "run", *options, *volumes, "witness", "-c", program, str(MEMORY_MIB))
        self.wait_for_answer()

    def must(self, *words: str) -> str:
        """A command of the CLI that must succeed."""
        done = self.segue(*words)
        assert done.returncode == 0, (words[:3], done.stdout, done.stderr)
        return done.stdout

    def power_on(self, host: str) -> None:
        """Power comes back, and what it mounted by hand has gone: its images are brought again."""
        super().power_on(host)
        self.run(host, "sh", "-ec", _SMALL_PLACE)
        self.restart(host)
        self._load(host)

    def start_guest(self, host: str) -> None:
        """Starts it from its files, and waits until it answers."""
        self.call(host, "POST", f"/guests/{GUEST}/start")
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Returns when it answers."""
        wait_until(self.client.answered, "the application answers")

    def begin(self) -> None:
        """A new case, with a connection that has to live on."""
        super().begin()
        assert self.client.answered(within_s=5.0)
        self.client.breaks = 0

    def migrate(self, target: str, **limits: Any) -> Move:
        """Every other time it runs before its memory is in place, where both agents know how."""
        self._moves += 1
        on_demand = {"post_copy_after": 0} if self.on_demand and self._moves % 2 else {}
        return super().migrate(target, **on_demand, **limits)

    def unrest(self) -> list[str]:
        """Everything that is not as it must be when nothing is under way."""
        return app_calm.unrest(self)

    def logs(self) -> list[tuple[str, str]]:
        """What the agents wrote since the case began."""
        found = []
        for host in self.hosts:
            words = self._log(host).read_bytes()[self._logged.get(host, 0) :]
            found.append((f"agent of {host}", words.decode(errors="replace")))
            found.append((f"processes of {host}", "\n".join(map(_about, self.lab.host_pids(host)))))
        return found

    def pids(self, host: str, program: str) -> list[int]:
        """The processes there that are CRIU, carry a move's files (porter), or watch over the application (warden)."""
        every = self.lab.host_pids(host)
        match program:
            case "agent":
                return self.agent_pids(host)
            case "criu":  # It gives itself other command lines.
                return [pid for pid in every if calm.name(pid) == "criu"]
            case _:
                return [pid for pid in every if PROGRAMS[program] in calm.command(pid)]

    def signal(self, host: str, program: str, number: int = signal.SIGKILL) -> list[int]:
        """Sends all of them a signal; which they were."""
        found = self.pids(host, program)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    def catch_at_work(self, host: str, limit_s: float = 20.0) -> None:
        """Returns once CRIU has begun with the application itself there, without a pause: it needs not long."""
        moves, until_s = self.inside(host) / "run/segue/moves", time.monotonic() + limit_s
        deeds = (("out", "dump"), ("in", "restore"))
        logs = [moves / f"{GUEST}.{way}" / "work" / f"{deed}.log" for way, deed in deeds]
        while not any(log.exists() for log in logs) or not self.pids(host, "criu"):
            assert time.monotonic() < until_s, f"no CRIU at work on {host}"

    def inside(self, host: str) -> Path:
        """The host's files as this machine sees them."""
        return Path(f"/proc/{self.lab.host_pids(host)[0]}/root")

    def rest(self, for_s: float) -> None:
        """Lets a fault last."""
        _rest.wait(for_s)

    def fill(self, host: str) -> Callable[[], None]:
        """No room for anything that an application writes there; what ends that."""
        return self.fill_up(host, APPS)

    def demand_connected(self) -> None:
        """The client's connection never ended."""
        assert self.client.breaks == 0, "the connection ended"


def _about(pid: int) -> str:
    """What it is and what it waits for, as far as it is still there."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text().split("\n")
        chosen = [line for line in status if line.startswith(("State", "PPid", "NSpid"))]
        return f"{pid} {calm.command(pid)[:80]!r} {chosen} {Path(f'/proc/{pid}/wchan').read_text()}"
    return f"{pid} has ended"


_SMALL_PLACE: Final = f"""
mkdir -p {APPS}
mount -t tmpfs -o size={APPS_BYTES},mode=0711 apps {APPS}
"""
