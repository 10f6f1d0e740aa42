"""Starts whatever of a lab is wanted and does not run, and joins it by cables; never stops a machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec

from segue.errors import Kind, Refused
from segue.lab import cgroups, control, cuts, furnish, machine, nodes, state, wires
from segue.lab.nodes import Node
from segue.lab.places import Places
from segue.lab.variants import Lower

P = ParamSpec("P")


def start_missing(places: Places, wanted: state.Wanted, lower: Lower, say: Callable[[str], None]) -> None:
    """Start what is wanted and does not run; all of them boot at the same time."""
    everybody = wanted.everybody
    boots: list[machine.Boot] = []
    try:
        for node in (nodes.FABRIC, *everybody):
            if machine.running(places, node) is None and node.name not in wanted.off:
                say(f"starting {node.name}")
                boots.append(machine.Boot(places, node, everybody, lower(node)))
        _join(places, wanted, {boot.node: boot.wait_ready() for boot in boots})
        for boot in boots:
            boot.go()
    except BaseException:
        for boot in boots:
            boot.cancel()
        raise
    fresh = {boot.node for boot in boots}
    if wanted.cuts and nodes.FABRIC in fresh:
        apply_cuts(places, wanted.cuts)
    _tell_others(places, everybody, fresh)


def restart(places: Places, wanted: state.Wanted, node: Node, layers: Sequence[Path]) -> None:
    """Start a machine that has ended by itself, on the layers that it had; the others are not looked at."""
    fabric = need_running(places, nodes.FABRIC)
    wire(wires.unplug, fabric.pid, node)
    cgroups.remove(places, node.name)
    boot = machine.Boot(places, node, wanted.everybody, layers)
    try:
        _join(places, wanted, {node: boot.wait_ready()})
        boot.go()
    except BaseException:
        boot.cancel()
        raise


def need_running(places: Places, node: Node) -> machine.Running:
    if seen := machine.running(places, node):
        return seen
    raise Refused(
        what=f"{node.name} does not run",
        why="it was switched off, or its first process ended",
        todo="Run `segue lab up`." if node == nodes.FABRIC else f"Run `segue lab start {node.name}`.",
        kind=Kind.CONFLICT,
    )


def apply_cuts(places: Places, wanted: Sequence[str]) -> None:
    """Make the fabric swallow exactly this; an empty list swallows nothing."""
    done = run(places, nodes.FABRIC, cuts.COMMAND, input=cuts.ruleset(wanted))
    if done.returncode != 0:
        raise cuts.impossible(str(done.stderr))


def run(
    places: Places, node: Node, argv: Sequence[str], *, input: str | None = None, timeout: float | None = 10
) -> subprocess.CompletedProcess[str]:
    """Run a program in a machine to its end; without an input it reads an empty one."""
    return subprocess.run(
        machine.enter_command(need_running(places, node), argv),
        env=machine.enter_environ(places, node),
        input=input or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def wire(work: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
    """pyroute2 runs an event loop of its own, which a caller that runs in one would not let it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work, *arguments, **named).result()


def _join(places: Places, wanted: state.Wanted, fresh: dict[Node, int]) -> None:
    """Wire the machines that have just come up; a new fabric has to take all the others again."""
    joining = dict(fresh)
    fabric = joining.pop(nodes.FABRIC, 0)
    if fabric:
        wire(wires.make_fabric, fabric)
        for node in wanted.everybody:
            if node not in joining and (seen := machine.running(places, node)):
                joining[node] = seen.pid
    for node, pid in joining.items():
        fabric = fabric or need_running(places, nodes.FABRIC).pid
        wire(wires.attach, fabric, node, pid)
        if node.name in wanted.rates_bits_per_s:
            wire(wires.set_rate, fabric, node, pid, wanted.rates_bits_per_s[node.name])


def _tell_others(places: Places, everybody: Sequence[Node], fresh: set[Node]) -> None:
    """Machines that ran before learn the names of new ones; a restarted agent reads the file again."""
    for node in everybody:
        seen = None if node in fresh else machine.running(places, node)
        changed = seen and furnish.furnish(places, node, everybody, Path(f"/proc/{seen.pid}/root"))
        if changed and (service := control.service(node)):
            run(places, node, ["sv", "term", f"/etc/service/{service}"])
