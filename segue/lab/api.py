"""The lab as an object: what `segue lab`, the demo, the tests and the benchmarks use; it needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, ParamSpec

from segue.errors import Kind, Refused
from segue.lab import (
    cachefill,
    cgroups,
    cuts,
    furnish,
    layers,
    machine,
    nodes,
    places,
    processes,
    rootfs,
    state,
    wires,
)
from segue.lab.nodes import Node, Role

FREE_BYTES: Final = 500 * cachefill.MIB
EXEC_LIMIT_S: Final = 60.0
P = ParamSpec("P")


def _silent(_: str) -> None:
    """The progress of a lab that nobody watches."""


class Lab:
    """One lab on this machine; nothing is touched before a verb is called."""

    def __init__(self, name: str = places.DEFAULT_NAME, on_progress: Callable[[str], None] = _silent) -> None:
        self.places = places.of(name)
        self._say = on_progress

    def up(self, hosts: int = 3, clients: int = 1, images: Sequence[str] = ("micro",)) -> None:
        """Make the lab, or add to it whatever is missing; nothing that runs is disturbed."""
        _require_root()
        nodes.hosts(hosts), nodes.clients(clients)
        lower = self._layers()
        self._images(images)
        with state.locked(self.places, create=True):
            cachefill.require_space(
                self.places.top, FREE_BYTES, what=f"cannot make the lab {self.places.name}"
            )
            old = state.load(self.places) or state.Wanted()
            wanted = replace(old, hosts=max(hosts, old.hosts), clients=max(clients, old.clients), off=())
            state.save(self.places, wanted)
            self.places.shared.mkdir(exist_ok=True)
            furnish.write_machine_context(self.places, wanted.everybody)
            self._start_missing(wanted, lower)

    def down(self) -> bool:
        """Leave nothing behind, whatever state the lab is in; true if there was anything."""
        _require_root()
        with state.locked(self.places) as exists:
            ended = self._end_processes()
            cgroups.remove(self.places)
            if exists:
                _require_unmounted(self.places.top)
                shutil.rmtree(self.places.top)
        if self.places.top.parent.is_dir() and not any(self.places.top.parent.iterdir()):
            self.places.top.parent.rmdir()
        return exists or ended

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        input: str | None = None,
        timeout: float | None = EXEC_LIMIT_S,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a machine to its end; what it wrote comes back as text."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        command, environ = self.command(host, argv)
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=timeout, check=check, **given
        )

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a machine; signals sent to it arrive, and it dies with this process."""
        command, environ = self.command(host, argv)
        return subprocess.Popen(command, env=environ | options.pop("env", {}), **options)

    def command(self, host: str, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """What to run on this machine, and in which environment, to run `argv` in that one."""
        _require_root()
        node = state.need(self.places).node(host)
        seen = self._need_running(node)
        return machine.enter_command(seen, argv), machine.enter_environ(self.places, node)

    def host_pids(self, host: str) -> list[int]:
        """Every process of a machine by this machine's numbers, its first one first; none if it is off."""
        seen = machine.running(self.places, state.need(self.places).node(host))
        return sorted(processes.inside(seen.pid)) if seen else []

    def cut(self, what: str) -> None:
        """Let every frame of a machine, or between two (`host1--host2`), vanish on the way."""
        cut = cuts.parse(what)
        self._change_cuts(lambda old: (*old, cut) if cut not in old else old, cut)

    def mend(self, what: str | None = None) -> None:
        """Take one cut away, or all of them; `mend("host1")` mends every cut that touches it."""
        if what is None:
            self._change_cuts(lambda _: (), None)
            return
        cut = cuts.parse(what)
        gone = {cut} if "--" in cut else {cut, *cuts.touching(state.need(self.places).cuts, cut)}
        self._change_cuts(lambda old: tuple(each for each in old if each not in gone), cut)

    def kill(self, host: str) -> None:
        """A power loss: every process of the machine ends at once, its disk stays; off is not an error."""
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            node = self._not_fabric(wanted.node(host))
            if seen := machine.running(self.places, node):
                self._end([seen.pid], processes.in_network_of([seen.pid]))
            if fabric := machine.running(self.places, nodes.FABRIC):
                _wire(wires.unplug, fabric.pid, node)
            cgroups.remove(self.places, node.name)
            state.save(self.places, replace(wanted, off=tuple(sorted({*wanted.off, node.name}))))

    def start(self, host: str) -> None:
        """Switch a machine on; on already is not an error."""
        _require_root()
        lower = self._layers()
        with state.locked(self.places):
            wanted = state.need(self.places)
            node = self._not_fabric(wanted.node(host))
            wanted = replace(wanted, off=tuple(name for name in wanted.off if name != node.name))
            state.save(self.places, wanted)
            self._start_missing(wanted, lower)

    def set_rate(self, bits_per_s: int | None, host: str | None = None) -> None:
        """Limit the links of one machine or of all, both ways; None takes the limit away."""
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            chosen = [self._not_fabric(wanted.node(host))] if host else wanted.everybody
            rates = dict(wanted.rates_bits_per_s)
            for node in chosen:
                rates.pop(node.name, None)
                if bits_per_s is not None:
                    rates[node.name] = bits_per_s
            wanted = replace(wanted, rates_bits_per_s=rates)
            state.save(self.places, wanted)
            fabric = self._need_running(nodes.FABRIC)
            for node in chosen:
                if seen := machine.running(self.places, node):
                    _wire(wires.set_rate, fabric.pid, node, seen.pid, bits_per_s)

    def swallowed(self) -> dict[str, int]:
        """Frames that vanished in each cut."""
        done = self.exec("fabric", ["nft", "-j", "list", "table", "bridge", "segue_cuts"])
        return cuts.swallowed(done.stdout) if done.returncode == 0 else {}

    def _layers(self) -> list[Path]:
        """Topmost first, as overlayfs wants them."""
        cache = places.cache()
        base = rootfs.ensure(cache, self._say)
        dependencies = layers.ensure_dependencies(cache, base, self._say)
        return [layers.ensure_segue(cache, base, self._say), dependencies, base]

    def _images(self, names: Sequence[str]) -> None:
        (places.cache() / "images").mkdir(parents=True, exist_ok=True)
        if names:
            from segue.lab import images

            images.ensure_images(places.cache(), names, self._say)

    def _start_missing(self, wanted: state.Wanted, lower: Sequence[Path]) -> None:
        """Start what is wanted and does not run; all of them boot at the same time."""
        everybody = wanted.everybody
        boots: list[machine.Boot] = []
        try:
            for node in (nodes.FABRIC, *everybody):
                if machine.running(self.places, node) is None and node.name not in wanted.off:
                    self._say(f"starting {node.name}")
                    boots.append(machine.Boot(self.places, node, everybody, lower))
            pids = {boot.node: boot.wait_ready() for boot in boots}
            self._join(wanted, pids)
            for boot in boots:
                boot.go()
        except BaseException:
            for boot in boots:
                boot.cancel()
            raise
        self._apply_cuts(wanted.cuts)
        self._tell_others(everybody, {boot.node for boot in boots})

    def _join(self, wanted: state.Wanted, fresh: dict[Node, int]) -> None:
        """Wire the machines that have just come up; a new fabric has to take all the others again."""
        joining = dict(fresh)
        fabric = joining.pop(nodes.FABRIC, 0)
        if fabric:
            _wire(wires.make_fabric, fabric)
            for node in wanted.everybody:
                if node not in joining and (seen := machine.running(self.places, node)):
                    joining[node] = seen.pid
        else:
            fabric = self._need_running(nodes.FABRIC).pid
        for node, pid in joining.items():
            _wire(wires.attach, fabric, node, pid)
            if node.name in wanted.rates_bits_per_s:
                _wire(wires.set_rate, fabric, node, pid, wanted.rates_bits_per_s[node.name])

    def _tell_others(self, everybody: Sequence[Node], fresh: set[Node]) -> None:
        """Machines that ran before learn the names of new ones; a restarted agent reads the file again."""
        for node in everybody:
            seen = None if node in fresh else machine.running(self.places, node)
            if seen and furnish.furnish(self.places, node, everybody, Path(f"/proc/{seen.pid}/root")):
                self.exec(node.name, ["sv", "term", "/etc/service/segue-agent"])

    def _change_cuts(self, change: Callable[[tuple[str, ...]], tuple[str, ...]], cut: str | None) -> None:
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            for name in cut.split("--") if cut else ():
                wanted.node(name)
            changed = replace(wanted, cuts=change(wanted.cuts))
            self._apply_cuts(changed.cuts)
            state.save(self.places, changed)

    def _apply_cuts(self, wanted: Sequence[str]) -> None:
        self._need_running(nodes.FABRIC)
        done = self.exec("fabric", cuts.COMMAND, input=cuts.ruleset(wanted))
        if done.returncode != 0:
            raise cuts.impossible(done.stderr)

    def _end_processes(self) -> bool:
        """All of the lab's processes, found by what was written down, by their mark and by their network."""
        ended = False
        for _ in range(3):
            marked = processes.marked(self.places.top)
            network = processes.in_network_of(marked)
            found = sorted({*marked, *network} - {os.getpid()})
            if not found:
                return ended
            ended = True
            self._end(marked, network)
        raise Refused(
            what=f"cannot end every process of the lab {self.places.name}",
            why=f"still there: {', '.join(map(str, found))}",
            todo="See what they wait for (`ps -o pid,stat,wchan,cmd`), and run `segue lab down` again.",
            kind=Kind.TIMEOUT,
        )

    def _end(self, first: Sequence[int], others: Sequence[int]) -> None:
        """End the machines; programs that only entered one follow by themselves, or are ended too."""
        left = processes.end(first) or processes.wait_for_end(others, 2.0)
        processes.end(pid for pid in left if pid != os.getpid())

    def _need_running(self, node: Node) -> machine.Running:
        if seen := machine.running(self.places, node):
            return seen
        raise Refused(
            what=f"{node.name} does not run",
            why="it was switched off, or its first process ended",
            todo="Run `segue lab up`." if node == nodes.FABRIC else f"Run `segue lab start {node.name}`.",
            kind=Kind.CONFLICT,
        )

    @staticmethod
    def _not_fabric(node: Node) -> Node:
        if node.role is not Role.FABRIC:
            return node
        raise Refused(
            what="cannot do that to the fabric",
            why="it is the cable between the machines",
            todo="Name a host or a client.",
            kind=Kind.USAGE,
        )


def _wire(work: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
    """pyroute2 runs an event loop of its own, which a caller that runs in one would not let it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work, *arguments, **named).result()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Refused(
            what="cannot work on a lab",
            why="it makes namespaces and mounts, and that takes root",
            todo="Run the same command with sudo.",
            kind=Kind.AUTH,
        )


def _require_unmounted(top: Path) -> None:
    """Removing the folder would remove what is mounted in it; the lab itself mounts nothing there."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    found = [point for line in lines if (point := line.split()[4]).startswith(f"{top}/")]
    if found:
        raise Refused(
            what=f"cannot remove {top}",
            why=f"something is mounted at {', '.join(found)}",
            todo="Unmount it, and run `segue lab down` again.",
            kind=Kind.CONFLICT,
        )
