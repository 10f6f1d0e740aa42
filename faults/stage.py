"""The hosts, the client and the guest of the fault cases: the guest writes memory and a disk, and can prove both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from faults import report
from tests.lab import calm, client
from tests.lab.census import Census
from tests.lab.moves import wait_until
from tests.lab.scene import CARDS, GUEST, HOSTS, MEMORY_BYTES, WRITES, Scene

DISK_BYTES: Final = 16 << 20
DISK_WRITES: Final = "segue.disk=vda:1M/16M"
LOCAL: Final = "/var/lib/segue/disks"
LOCAL_BYTES: Final = 320 << 20
"""Of each host's file system for local disks: the guest's, and some that it left behind within KEEP_S."""
KEEP_S: Final = 1


class Stage(Scene):
    """A scene whose guest is made anew for each kind of disk."""

    kind = "local qcow2"

    def up(self) -> None:
        """Each host has a small file system for disks, which can be filled without harm to anybody else."""
        self.lab.up(hosts=len(HOSTS), clients=1)
        for host in HOSTS:
            self.wait_for_agent(host)
            self.run(host, "sh", "-ec", _SMALL_DISKS)
            self.restart(host)
        super().up()

    def make_guest(self, name: str, address: str, **more: object) -> str:
        """A guest on host1, not started, with one disk of zeros; its uuid.

        All of the disk has its place: a QEMU that is killed takes along what of a qcow2's tables nobody flushed, and
        with it writes that the guest was never promised.
        """
        storage, _, form = self.kind.partition(" ")
        wish = {
            "name": name,
            "image": "micro",
            "memory_bytes": MEMORY_BYTES,
            "address": address,
            "start": False,
            "on_crash": {"qemu": "leave", "panic": "leave", "hang": "leave"},
            "cmdline": f"{WRITES} {DISK_WRITES}",
            "disks": [{"size_bytes": DISK_BYTES, "format": form, "storage": storage}],
        }
        spec = self.call("host1", "POST", "/guests", {**wish, **more})["spec"]
        self.run("host1", "qemu-io", "-f", form, "-c", f"write -P 0 0 {DISK_BYTES}", spec["disks"][0]["path"])
        return str(spec["uuid"])

    def use(self, kind: str) -> None:
        """Has the guest's disk be of that kind."""
        if kind == self.kind:
            return
        self.kind = kind
        if not self.is_up:
            return
        owner = self.owner()
        self.call(owner, "POST", f"/guests/{GUEST}/stop", {"within_s": 0})
        self.call(owner, "DELETE", f"/guests/{GUEST}")
        self.census.stop()
        self.uuid = self.make_guest(GUEST, "", nics=CARDS)
        self.census = Census(self.lab.places.top, self.uuid)
        self.census.start()
        self.start_guest("host1")

    def start_guest(self, host: str) -> None:
        """Returns when the disk's writer answers, too."""
        super().start_guest(host)
        wait_until(self._disk_answers, "the writer of the guest's disk answers")

    def _disk_answers(self) -> bool:
        try:
            return self.client.ask("status", client.DISK).startswith("written")
        except OSError:
            return False

    def pids(self, host: str, program: str) -> list[int]:
        """The guest's QEMU there, the host's agent, or the daemon that takes disks in."""
        match program:
            case "agent":
                return self.agent_pids(host)
            case "qemu":
                return [qemu.pid for qemu in self.census.on(host)]
            case _:
                daemon = b"qemu-storage-daemon"
                return [pid for pid in self.lab.host_pids(host) if calm.command(pid).startswith(daemon)]

    def fill(self, host: str) -> Callable[[], None]:
        """No room for local disks there; what ends that."""
        return self.fill_up(host, LOCAL)

    def proofs(self, before: Mapping[str, float], crashed: bool) -> dict[str, Any]:
        """Its own word on its memory and on every block of its disk; one that went back in time has lost both."""
        memory, disk, status = (
            self.client.ask("check"),
            self.client.ask("check", client.DISK),
            self.status(),
        )
        lost_writes = max(0, int(before["written"] - status["written"]))
        restarted = not crashed and status["uptime"] < before["uptime"]
        return {
            "memory": memory,
            "disk_blocks": disk,
            "wrong_pages": report.bad_in(memory) + int(restarted),
            "corrupt_blocks": report.bad_in(disk) + int(status["torn"]) + lost_writes,
            "write_errors": int(status["errors"]),
            "restarted": restarted,
        }

    def count(self) -> float:
        """Blocks of its disk that it has written."""
        return self.status()["written"]

    def status(self) -> dict[str, float]:
        """What the guest says of its disk: blocks written so far, errors, blocks that were not whole at its boot."""
        words = self.client.ask("status", client.DISK).split()
        return {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}

    def stray_disks(self) -> Iterator[str]:
        """The guest's disk lies once, where it is used; what was left behind is known to the agent and kept."""
        (disk,) = [guest["spec"]["disks"][0]["path"] for guest in self._all_shown()][:1]
        is_local, owner = self.kind.startswith("local"), self.owner()
        for host in HOSTS:
            kept = {entry["path"] for entry in self.call(host, "GET", "/disks/kept")}
            wanted = {disk} if is_local and host == owner else set()
            found = {f"{LOCAL}/{name}" for name in os.listdir(self._disks_of(host))}
            if (found - kept) != wanted:
                yield f"{host} has disks {sorted(found - kept)}"
        shared = {path.name for path in self.lab.places.shared.iterdir() if path.is_file()}
        if shared != (set() if is_local else {Path(disk).name}):
            yield f"the shared storage has {sorted(shared)}"

    def _disks_of(self, host: str) -> Path:
        return Path(f"/proc/{self.lab.host_pids(host)[0]}/root{LOCAL}")

    def _all_shown(self) -> list[dict[str, Any]]:
        return [shown for host in HOSTS if (shown := self.shown(host)) is not None]


_SMALL_DISKS: Final = f"""
mountpoint -q {LOCAL} && exit
mkdir -p {LOCAL}
mount -t tmpfs -o size={LOCAL_BYTES},mode=0755 disks {LOCAL}
sed -i '1i keep_disks_s = {KEEP_S}' /etc/segue/agent.toml
"""
