"""What a lab looks like at this moment, as plain data; looks and never changes anything."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.lab import bringup, cuts, machine, nodes, processes, state, variants
from segue.lab.nodes import Node, Role
from segue.lab.places import Places, cache

LISTENING: Final = "0A"  # Linux: include/net/tcp_states.h


@dataclass(frozen=True)
class MachineStatus:
    """One machine. `state` is running, off (by `kill`) or dead.

    `agent` is answering, silent or empty; on a controller and an etcd member it is that program.
    """

    name: str
    role: str
    state: str
    address: str
    pid: int
    processes: int
    agent: str
    code: str
    cuts: list[str]
    rate_bits_per_s: int | None


@dataclass(frozen=True)
class CutStatus:
    """One black hole, and the frames that vanished in it since the cuts were last changed."""

    what: str
    frames: int


@dataclass(frozen=True)
class LabStatus:
    """The whole lab."""

    name: str
    folder: str
    context: str
    machines: list[MachineStatus]
    cuts: list[CutStatus]


def look(places: Places) -> LabStatus:
    wanted = state.need(places)
    lost = swallowed(places) if wanted.cuts else {}
    return LabStatus(
        name=places.name,
        folder=str(places.top),
        context=str(places.context),
        machines=[_machine(places, wanted, node) for node in (*wanted.everybody, nodes.FABRIC)],
        cuts=[CutStatus(cut, lost.get(cut, 0)) for cut in wanted.cuts],
    )


def swallowed(places: Places) -> dict[str, int]:
    """Frames that have vanished in each cut."""
    if machine.running(places, nodes.FABRIC) is None:
        return {}
    done = bringup.run(places, nodes.FABRIC, cuts.LIST)
    return cuts.swallowed(done.stdout) if done.returncode == 0 else {}


def agent_answers(places: Places, node: Node) -> bool:
    """Whether somebody listens on the socket of the host's agent."""
    path = places.node(node.role, node.name) / "run" / "agent.sock"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _machine(places: Places, wanted: state.Wanted, node: Node) -> MachineStatus:
    seen = machine.running(places, node)
    code = str(variants.current(cache(), wanted.variants, node)) if seen and node.address else ""
    return MachineStatus(
        name=node.name,
        role=str(node.role),
        state="running" if seen else "off" if node.name in wanted.off else "dead",
        address=node.address,
        pid=seen.pid if seen else 0,
        processes=len(processes.inside(seen.pid)) if seen else 0,
        agent=_service(places, node) if seen and node.port else "",
        code=("current" if code in seen.layers else "older") if seen and node.address else "",
        cuts=cuts.touching(wanted.cuts, node.name),
        rate_bits_per_s=wanted.rates_bits_per_s.get(node.name),
    )


def listens(places: Places, node: Node) -> bool:
    """Whether the machine's service takes connections, as its own kernel says."""
    if node.role is Role.HOST:
        return agent_answers(places, node)
    seen = machine.running(places, node)
    if seen is None:
        return False
    rows = Path(f"/proc/{seen.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(row.split()[1].endswith(f":{node.port:04X}") and row.split()[3] == LISTENING for row in rows)


def _service(places: Places, node: Node) -> str:
    return "answering" if listens(places, node) else "silent"
