"""What must hold after every fault: one copy, where it is said to be, and nothing left behind anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from segue.adapters import priority
from segue.lab import nodes
from tests.lab.moves import ENDS

if TYPE_CHECKING:
    from tests.lab.scene import Scene

LISTENING = "0A"  # Linux: include/net/tcp_states.h


def unrest(scene: Scene) -> list[str]:
    """Everything that is not as it must be; empty when all is well."""
    shown = [guest for host in scene.hosts for guest in scene.call(host, "GET", "/guests")]
    found = [f"{g['name']} is {g['phase']} and {g['state']} on {g['host']}" for g in shown]
    at = [(g["host"], g["phase"], g["state"]) for g in shown]
    owner = at[0][0] if at else ""
    if at != [(owner, "owner", "running")]:
        return found or ["no agent has a guest"]
    return [line for host in scene.hosts for line in _left(scene, host, owner)] + list(scene.stray_disks())


def _left(scene: Scene, host: str, owner: str) -> Iterator[str]:
    wanted = 1 if host == owner else 0
    qemus, taps = processes(scene, host, b"qemu-system"), interfaces(scene, host, "tap")
    if len(qemus) != wanted:
        yield f"{host} has QEMU processes {qemus}"
    if wanted and not all(qemu.runs() for qemu in scene.census.on(host)):
        yield f"the vCPU on {host} is given no time"
    if hastened := [pid for pid in qemus if goes_first(pid)]:
        yield f"{host} still gives QEMU {hastened} its processors first"
    if daemons := processes(scene, host, b"qemu-storage-daemon"):
        yield f"{host} has storage daemons {daemons}"
    if len(taps) != wanted * len(scene.cards):
        yield f"{host} has taps {taps}"
    if sockets := packet_sockets(scene, host):
        yield f"{host} hears frames on {sockets}"
    if tunnels := interfaces(scene, host, "seg"):
        yield f"{host} has tunnels {tunnels}"
    if ports := listening(scene, host):
        yield f"{host} listens on {ports}"
    if not wanted and (sockets := sorted(path.name for path in scene.folder(host).glob("guests/*/*.sock"))):
        yield f"{host} has sockets {sockets}"
    if keys := [path.name for path in scene.folder(host).glob("keys/*")]:
        yield f"{host} has keys of {keys}"
    for record in scene.call(host, "GET", "/migrations"):
        if record["stage"] not in ENDS:
            yield f"a migration from {host} is in {record['stage']}, {record['step']}"


def processes(scene: Scene, host: str, program: bytes) -> list[int]:
    """Of every guest, by the machine's process numbers."""
    return [pid for pid in scene.lab.host_pids(host) if command(pid).startswith(program)]


def goes_first(pid: int) -> bool:
    """Whether the kernel gives a process or its session processors before others."""
    try:
        session = Path(f"/proc/{pid}/autogroup").read_text().split()
    except OSError:
        session = []
    return priority.of(pid) < 0 or (bool(session) and int(session[-1]) < 0)


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def name(pid: int) -> str:
    """What the kernel calls it."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def network(scene: Scene, host: str, file: str) -> list[str]:
    """A file of the host's own network namespace."""
    return Path(f"/proc/{scene.lab.host_pids(host)[0]}/net/{file}").read_text().splitlines()


def interfaces(scene: Scene, host: str, kind: str) -> list[str]:
    names = [line.partition(":")[0].strip() for line in network(scene, host, "dev")[2:]]
    return [name for name in names if name.startswith(kind)]


def packet_sockets(scene: Scene, host: str) -> list[str]:
    """Sockets that keep frames for a guest that might stay: none outlives its migration."""
    return [line.split()[0] for line in network(scene, host, "packet")[1:]]


def listening(scene: Scene, host: str) -> list[int]:
    """Ports other than the agent's own."""
    rows = [line.split() for line in network(scene, host, "tcp")[1:] + network(scene, host, "tcp6")[1:]]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}
    return sorted(ports - {nodes.AGENT_PORT})
