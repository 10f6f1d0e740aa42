"""A stage for faults: three hosts, a client and one guest under the eyes of a census that asks only the kernel.

The guest has a disk on the shared storage, writes its memory all the time and can prove that none was lost.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from segue.cli.fleet import Host
from segue.errors import Kind, SegueError
from segue.lab import places, state
from segue.lab.api import Lab
from segue.lab.variants import ALL_ALIKE, Variants
from tests.lab import calm, typed
from tests.lab.census import Census
from tests.lab.client import Client
from tests.lab.moves import LIMIT_S, LIMITS, Halt, Move, wait_until

HOSTS: Final = ("host1", "host2", "host3")
GUEST: Final = "web1"
ADDRESS: Final = "10.77.100.1"
ADDRESS6: Final = "fd77::1:1"
BLUE: Final = "10.9.0.1"
BLUE6: Final = "fd99::1"
CARDS: Final = (
    {"address": f"{ADDRESS}/16", "address6": f"{ADDRESS6}/64"},
    {"network": "blue", "address": f"{BLUE}/24", "address6": f"{BLUE6}/64"},
)
MEMORY_BYTES: Final = 144 << 20
WRITES: Final = "segue.dirty=2M/8M"
IMAGE: Final = "web"
DISK_BYTES: Final = 1 << 20


class Scene:
    """The lab with its guest, and everything a case needs to do or to ask."""

    hosts: tuple[str, ...] = HOSTS
    census: Census
    client: Client
    uuid: str

    def __init__(
        self, name: str, variants: Variants = ALL_ALIKE, cards: Sequence[Mapping[str, str]] = CARDS
    ) -> None:
        self.lab = Lab(name)
        self.cards = cards
        self._variants = variants
        self.is_up = False
        self.watch = True
        self._logged: dict[str, int] = {}
        self._halts: list[Halt] = []

    # Up and down

    def up(self) -> None:
        """Makes the hosts and the guest, and waits until the guest answers."""
        self.lab.up(hosts=len(self.hosts), clients=1, variants=self._variants)
        for host in self.hosts:
            self.wait_for_agent(host)
        self.ready()
        self.uuid = self.make_guest(GUEST, "", nics=self.cards)
        self.census = Census(self.lab.places.top, self.uuid)
        self.census.start()
        self.client = Client(self.lab, ADDRESS)
        self.is_up = True
        self.start_guest("host1")

    def ready(self) -> None:
        """The hosts answer, and there is no guest yet: for scenes whose hosts are to be otherwise."""

    def down(self) -> None:
        """Leaves nothing behind."""
        while self._halts:
            self._halts.pop().close()
        if self.is_up:
            self.census.stop()
            self.client.close()
        self.is_up = False
        self.lab.down()

    def make_guest(self, name: str, address: str, **more: object) -> str:
        """A guest on host1, not started, whose disk lies on the shared storage; its uuid."""
        store = self.lab.places.shared / "images"
        (store / IMAGE).mkdir(parents=True, exist_ok=True)
        (store / IMAGE / "empty.raw").write_bytes(bytes(DISK_BYTES))
        micro = json.loads((places.cache() / "images" / "micro" / "image.json").read_text())
        kernel = {key: f"/srv/segue/images/micro/{micro[key]}" for key in ("kernel", "initrd")}
        disk = {"disk": f"/srv/segue/shared/images/{IMAGE}/empty.raw", "disk_format": "raw"}
        (store / IMAGE / "image.json").write_text(json.dumps({**micro, **kernel, **disk, "name": IMAGE}))
        wish = {
            "name": name,
            "image": IMAGE,
            "memory_bytes": MEMORY_BYTES,
            "address": address,
            "start": False,
            "watch": self.watch,
            "on_crash": {"qemu": "leave", "panic": "leave", "hang": "leave", "per_hour": 100},
        }
        # The lab's own image store is for all labs and read-only: ours is laid over it for one moment.
        self.run("host1", "mount", "--bind", "/srv/segue/shared/images", "/srv/segue/images")
        try:
            made = self.call("host1", "POST", "/guests", {"cmdline": WRITES, **wish, **more})
        finally:
            self.run("host1", "umount", "/srv/segue/images")
        return str(made["spec"]["uuid"])

    # Asking and telling

    def host(self, name: str) -> Host:
        """The agent of a host by its socket."""
        return Host(name, f"unix://{self.lab.agent_socket(name)}")

    def call(self, host: str, method: str, path: str, body: object = None) -> Any:
        """One call as root of that host makes it."""
        return self.host(host).call(method, path, body)

    def segue(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the CLI as a user types it."""
        return typed.run(self.lab, *words)

    def folder(self, host: str) -> Path:
        """The host's /run/segue as this machine sees it."""
        return self.lab.agent_socket(host).parent

    def run(self, host: str, *argv: str) -> str:
        """A command inside a machine that must succeed."""
        return self.lab.exec(host, argv, check=True).stdout

    def shown(self, host: str) -> dict[str, Any] | None:
        """What the host's agent has of our guest."""
        return next((guest for guest in self.call(host, "GET", "/guests") if guest["name"] == GUEST), None)

    def owner(self) -> str:
        """The host whose agent says that our guest may run there."""
        shown = [found for host in self.hosts if (found := self.shown(host)) is not None]
        owners = [str(guest["host"]) for guest in shown if guest["phase"] in {"owner", "offered"}]
        assert len(owners) == 1, shown
        return owners[0]

    def route(self) -> tuple[str, str]:
        """(source, target) of the next migration: to and fro between the first two hosts."""
        source = self.owner()
        return source, "host1" if source != "host1" else "host2"

    def migrate(self, target: str, **limits: Any) -> Move:
        """Begins a migration; an agent that dies on the way still has its record."""
        source = self.owner()
        before = {record["id"] for record in self.call(source, "GET", "/migrations")}
        # A slow copy for which there is time enough for the fault has no hope, says the forecast.
        wish = {"to": target, "limits": {**LIMITS, **limits}, "force": True}
        try:
            begun = self.call(source, "POST", f"/guests/{GUEST}/migrations", wish)
            return Move(self.host(source), target, begun["id"])
        except SegueError as error:
            if error.kind is not Kind.UNREACHABLE or "does not answer" not in error.what:
                raise
        return Move(self.host(source), target, self._new_record(source, before))

    def _new_record(self, source: str, before: set[str]) -> str:
        found: list[str] = []

        def look() -> bool:
            found[:] = [r["id"] for r in self.call(source, "GET", "/migrations") if r["id"] not in before]
            return bool(found)

        wait_until(look, f"a new migration on {source}")
        return found[0]

    # Faults

    def arm(self, host: str, place: str, action: str = "kill") -> None:
        """Has the host's agent do this when it next comes to that place."""
        with (self.folder(host) / "failpoints").open("a") as file:
            file.write(f"{place}={action}\n")

    def halt(self, host: str, place: str) -> Halt:
        """Has the host's agent stand still at that place."""
        made = Halt(self.folder(host))
        self._halts.append(made)
        self.arm(host, place, made.action)
        return made

    def forget_failpoints(self) -> None:
        """A place that was not come to is not a trap for the next case."""
        for host in self.hosts:
            (self.folder(host) / "failpoints").unlink(missing_ok=True)

    def cut(self, way: str, source: str, target: str) -> Callable[[], None]:
        """Both ways in the fabric; one way where the frames begin, so that the answers still come. What mends it."""
        if way == "both ways":
            self.lab.cut(f"{source}--{target}")
            return self.lab.mend
        deaf, mute = (target, source) if way == "to target" else (source, target)
        address = state.need(self.lab.places).node(deaf).address
        return self.filter_out(mute, f"ip daddr {address} drop")

    def filter_out(self, host: str, rule: str) -> Callable[[], None]:
        """A rule of nftables for what leaves that host; what ends it."""
        self.run(host, "sh", "-ec", _FILTER.format(rule=rule))
        return lambda: self._unfilter(host)

    def filtered(self, host: str) -> bool:
        """Whether the rule's counter has met anything."""
        return "packets 0 " not in self.run(host, "nft", "list", "table", "ip", "rehearsal")

    def _unfilter(self, host: str) -> None:
        self.run(host, "nft", "destroy", "table", "ip", "rehearsal")

    def fill_up(self, host: str, folder: str) -> Callable[[], None]:
        """No room in a folder's file system; what ends that."""
        filler = f"{folder}/filler"
        # Ends with "No space left on device", which is what is wanted.
        self.lab.exec(host, ["dd", "if=/dev/zero", f"of={filler}", "bs=64k"])
        return lambda: self._empty(host, filler)

    def _empty(self, host: str, filler: str) -> None:
        self.run(host, "rm", "-f", filler)

    def kill_qemu(self, host: str) -> None:
        """Ends the guest's QEMU there, as the kernel's out-of-memory killer would."""
        found = self.census.on(host)
        assert found, f"no QEMU on {host}"
        for qemu in found:
            self.kill(qemu.pid)

    def kill(self, pid: int) -> None:
        """Ends one process."""
        os.kill(pid, 9)

    def agent_pid(self, host: str) -> int:
        """The process that listens on the agent's socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.lab.agent_socket(host)))
            pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid

    def agent_pids(self, host: str) -> list[int]:
        """The same; none while it is not there."""
        with suppress(OSError):
            return [self.agent_pid(host)]
        return []

    @contextmanager
    def configured(self, host: str, change: str) -> Iterator[None]:
        """The host's agent with other files in /etc/segue: `change` is a shell command that makes them so."""
        self.run(host, "cp", "-a", "/etc/segue", "/root/segue.kept")
        try:
            self.run(host, "sh", "-ec", change)
            self.restart(host)
            yield
        finally:
            self.run(host, "sh", "-ec", "rm -rf /etc/segue; mv /root/segue.kept /etc/segue")
            self.restart(host)

    def restart(self, host: str) -> None:
        """Ends the agent in good order; it is started again at once."""
        self.run(host, "sv", "-w", "20", "restart", "segue-agent")
        self.wait_for_agent(host)

    def wait_for_agent(self, host: str) -> None:
        """Returns when it answers."""
        wait_until(lambda: self.call(host, "GET", "/host"), f"the agent of {host} answers")

    def power_on(self, host: str) -> None:
        """Power comes back."""
        self.lab.start(host)
        self.wait_for_agent(host)

    def start_guest(self, host: str) -> None:
        """Starts it from its disk, and waits until it answers."""
        self.call(host, "POST", f"/guests/{GUEST}/start")
        wait_until(self.client.answered, "the guest answers")

    def logs(self) -> list[tuple[str, str]]:
        """What the agents wrote since the case began."""
        found = []
        for host in self.hosts:
            words = self._log(host).read_bytes()[self._logged.get(host, 0) :]
            found.append((f"agent of {host}", words.decode(errors="replace")))
            qemu = self.folder(host) / "guests" / GUEST / "qemu.log"
            if qemu.exists():
                found.append((f"QEMU on {host}", qemu.read_text(errors="replace")))
        return found

    def _log(self, host: str) -> Path:
        return self.lab.places.node("host", host) / "upper/var/log/segue/agent/current"

    # What must hold

    def begin(self) -> None:
        """A new case: calm, and nothing of what came before is judged again."""
        while self._halts:
            self._halts.pop().close()
        assert not state.need(self.lab.places).cuts
        self.census.begin()
        self.demand_calm(limit_s=5.0)
        for host in self.hosts:
            self._logged[host] = self._log(host).stat().st_size

    def heal(self) -> None:
        """After a case that failed: everything anew, so that the next one is judged by itself."""
        self.down()
        self.up()

    def demand_calm(self, limit_s: float = LIMIT_S) -> None:
        """The guest runs once and answers, nothing is left of anything, and never did two copies run."""
        left: list[str] = []

        def is_calm() -> bool:
            left[:] = [*self._not_happened(), *self.unrest()]
            return not left

        try:
            wait_until(is_calm, "calm", limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {left}") from None
        wait_until(self.client.answered, "the guest answers")
        self.client.demand_right_memory()
        self.demand_one()

    def unrest(self) -> list[str]:
        """Everything that is not as it must be when nothing is under way."""
        return calm.unrest(self)

    def stray_disks(self) -> Iterator[str]:
        """Disks where none belongs: the shared storage has the guest's one."""
        files = [path.name for path in self.lab.places.shared.iterdir() if path.is_file()]
        if len(files) != 1:
            yield f"the shared storage has {files}"

    def _not_happened(self) -> list[str]:
        """What was armed and has not come: a case that only seemed to be one."""
        paths = [self.folder(host) / "failpoints" for host in self.hosts]
        return [f"armed and not happened: {path.read_text()}" for path in paths if _words(path)]

    def demand_one(self) -> None:
        """No two copies ran at any instant since the case began."""
        overlaps = self.census.overlaps()
        assert not overlaps, overlaps


def _words(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


_FILTER: Final = """
nft add table ip rehearsal
nft add chain ip rehearsal out '{{ type filter hook output priority 0; }}'
nft add rule ip rehearsal out {rule}
"""
