"""The lab as an object: what `segue lab`, the demo, the tests and the benchmarks use; it needs root."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.lab import (
    bmcs,
    bringup,
    cachefill,
    cgroups,
    control,
    cuts,
    etcd_program,
    furnish,
    machine,
    nodes,
    places,
    processes,
    state,
    status,
    teardown,
    upgrade,
    watchdogs,
    wires,
)
from segue.lab.nodes import Node, Role
from segue.lab.variants import ALL_ALIKE, Lower, Variants, merged
from segue.lab.variants import lower as lower_of

FREE_BYTES: Final = 500 * cachefill.MIB
EXEC_LIMIT_S: Final = 60.0
ANSWER_LIMIT_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.02


def _silent(_: str) -> None:
    """The progress of a lab that nobody watches."""


class Lab:
    """One lab on this machine; nothing is touched before a verb is called, and every verb may be repeated."""

    def __init__(
        self,
        name: str = places.DEFAULT_NAME,
        on_progress: Callable[[str], None] = _silent,
        packages: Sequence[str] = (),
    ) -> None:
        """`packages`: of Debian, for machines that have more than the usual ones."""
        self.places = places.of(name)
        self._packages = tuple(packages)
        self._say = on_progress

    def up(
        self,
        hosts: int = 3,
        clients: int = 1,
        images: Sequence[str] = ("micro",),
        *,
        controllers: int = 0,
        etcd: int = 0,
        renew: bool = False,
        variants: Variants = ALL_ALIKE,
        bmc: bool = False,
        lease_s: float = 0.0,
    ) -> None:
        """Make the lab, or add to it whatever is missing; nothing that runs is disturbed.

        `renew` switches machines that run another segue or QEMU than they should off and on again, and their guests
        with them. `variants` adds to those that the lab has. `etcd` members hold the store of the `controllers`.
        `bmc` gives every host a BMC, which the controllers know; `lease_s` a watchdog, and guests that run by a lease.
        """
        _require_root()
        nodes.hosts(hosts), nodes.clients(clients), nodes.controllers(controllers), nodes.etcd_members(etcd)
        self._images(images)
        with state.locked(self.places, create=True):
            top = self.places.top
            cachefill.require_space(top, FREE_BYTES, what=f"cannot make the lab {self.places.name}")
            old = state.load(self.places) or state.Wanted()
            _demand_store(old, controllers, etcd)
            if etcd or old.etcd:
                etcd_program.ensure(places.cache(), self._say)
            wanted = replace(
                old,
                controllers=max(controllers, old.controllers),
                etcd=max(etcd, old.etcd),
                hosts=max(hosts, old.hosts),
                clients=max(clients, old.clients),
                off=(),
                agents=merged(old.agents, variants.agents),
                qemus=merged(old.qemus, variants.qemus),
                bmc=bmc or old.bmc,
                lease_s=lease_s or old.lease_s,
            )
            for name in {*wanted.agents, *wanted.qemus}:
                wanted.node(name)
            self._bring_up(wanted, renew=renew)

    def _bring_up(self, wanted: state.Wanted, *, renew: bool) -> None:
        lower = lower_of(places.cache(), wanted.variants, self._say, self._packages)
        state.save(self.places, wanted)
        self.places.shared.mkdir(exist_ok=True)
        furnish.write_machine_context(self.places, wanted.everybody)
        if wanted.bmc:
            bmcs.prepare(self.places)
        if wanted.lease_s:
            self.places.lease.write_text(f"{wanted.lease_s:g}", encoding="ascii")
        if renew:
            self._stop_older(wanted, lower)
        bringup.start_missing(self.places, wanted, lower, self._say)
        if wanted.bmc:
            bmcs.start_missing(self.places, wanted.hosts)
        if wanted.lease_s:
            watchdogs.start_missing(self.places)

    def down(self) -> bool:
        """Leave nothing behind, whatever state the lab is in; true if there was anything."""
        _require_root()
        with state.locked(self.places) as exists:
            ended = teardown.end_lab(self.places)
            if exists:
                teardown.remove_files(self.places)
        teardown.remove_if_empty(self.places.top.parent)
        return exists or ended

    def status(self) -> status.LabStatus:
        """Every machine, cut and rate."""
        _require_root()
        return status.look(self.places)

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        input: str | None = None,
        timeout: float | None = EXEC_LIMIT_S,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a machine to its end; what it wrote comes back as text."""
        _require_root()
        node = state.need(self.places).node(host)
        done = bringup.run(self.places, node, argv, input=input, timeout=timeout)
        if check:
            done.check_returncode()
        return done

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a machine; signals sent to it arrive, and it is killed when this process is."""
        command, environ = self.command(host, argv)
        return subprocess.Popen(command, env=environ | options.pop("env", {}), **options)

    def command(self, host: str, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """What to run on this machine, and in which environment, to run `argv` in that one."""
        _require_root()
        node = state.need(self.places).node(host)
        seen = bringup.need_running(self.places, node)
        return machine.enter_command(seen, argv), machine.enter_environ(self.places, node)

    def host_pids(self, host: str) -> list[int]:
        """Every process of a machine by this machine's numbers, its PID 1 first; empty if it is off."""
        seen = machine.running(self.places, state.need(self.places).node(host))
        if seen is None:
            return []
        return [seen.pid, *(pid for pid in sorted(processes.inside(seen.pid)) if pid != seen.pid)]

    def agent_socket(self, host: str) -> Path:
        """Where the host's agent listens, as this machine sees it."""
        node = state.need(self.places).node(host)
        return self.places.node(node.role, node.name) / "run" / "agent.sock"

    def wait_for_agents(self, hosts: Sequence[str] = (), limit_s: float = ANSWER_LIMIT_S) -> None:
        """Return when the agents of these hosts, or of all that are on, take connections."""
        wanted = state.need(self.places)
        names = hosts or [node.name for node in wanted.everybody if node.role is Role.HOST]
        silent = [wanted.node(name) for name in names if name not in wanted.off or hosts]
        deadline = time.monotonic() + limit_s
        while silent := [node for node in silent if not status.agent_answers(self.places, node)]:
            if time.monotonic() > deadline:
                raise _not_answering(silent, limit_s)
            time.sleep(LOOK_AGAIN_S)

    def wait_for_services(self, limit_s: float = ANSWER_LIMIT_S) -> None:
        """Return when whatever serves on a machine that is on takes connections: agents, controllers, etcd."""
        self.wait_for_agents(limit_s=limit_s)
        wanted = state.need(self.places)
        silent = [node for node in wanted.everybody if node.port and node.name not in wanted.off]
        deadline = time.monotonic() + limit_s
        while silent := [node for node in silent if not status.listens(self.places, node)]:
            if time.monotonic() > deadline:
                raise _not_answering(silent, limit_s)
            time.sleep(LOOK_AGAIN_S)

    def cut(self, what: str) -> None:
        """Let every frame of a machine, or between two (`host1--host2`), vanish on the way."""
        cut = cuts.parse(what)
        self._change_cuts(lambda old: old if cut in old else (*old, cut), cut)

    def mend(self, what: str | None = None) -> None:
        """Take one cut away, or all of them; `mend("host1")` mends every cut that touches it."""
        if what is None:
            self._change_cuts(lambda _: (), "")
            return
        cut = cuts.parse(what)
        self._change_cuts(
            lambda old: tuple(each for each in old if each != cut and each not in cuts.touching(old, cut)),
            cut,
        )

    def kill(self, host: str) -> None:
        """A power loss: every process of the machine ends at once, its disk stays; off is not an error."""
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            node = _not_fabric(wanted.node(host))
            # Written first: a crash in between must not look as if the machine had died by itself.
            state.save(self.places, replace(wanted, off=tuple(sorted({*wanted.off, node.name}))))
            self._stop(node)

    def start(self, host: str) -> None:
        """Switch a machine on; on already is not an error."""
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            lower = lower_of(places.cache(), wanted.variants, self._say, self._packages)
            node = _not_fabric(wanted.node(host))
            wanted = replace(wanted, off=tuple(name for name in wanted.off if name != node.name))
            state.save(self.places, wanted)
            bringup.start_missing(self.places, wanted, lower, self._say)

    def upgrade(self, host: str, qemu: str) -> list[str]:
        """Installs another QEMU on a host that runs, and nothing is restarted; the packages that changed."""
        _require_root()
        node = state.need(self.places).node(host)
        if node.role is not Role.HOST:
            raise nodes.unknown(host, [node.name for node in state.need(self.places).everybody])
        seen = bringup.need_running(self.places, node)
        changed = upgrade.install(Path(f"/proc/{seen.pid}/root"), places.cache(), qemu, self._say)
        self.exec(host, ["ldconfig"], check=True)
        return changed

    def set_rate(self, bits_per_s: int | None, host: str | None = None) -> None:
        """Limit the links of one machine or of all, both ways; None takes the limit away."""
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            chosen = [_not_fabric(wanted.node(host))] if host else wanted.everybody
            names = {node.name for node in chosen}
            rates = {name: rate for name, rate in wanted.rates_bits_per_s.items() if name not in names}
            if bits_per_s is not None:
                rates |= dict.fromkeys(names, bits_per_s)
            state.save(self.places, replace(wanted, rates_bits_per_s=rates))
            fabric = bringup.need_running(self.places, nodes.FABRIC)
            for node in chosen:
                if seen := machine.running(self.places, node):
                    bringup.wire(wires.set_rate, fabric.pid, node, seen.pid, bits_per_s)

    def _images(self, names: Sequence[str]) -> None:
        (places.cache() / "images").mkdir(parents=True, exist_ok=True)
        if names:
            from segue.lab import images

            images.ensure_images(places.cache(), names, self._say)

    def _stop_older(self, wanted: state.Wanted, lower: Lower) -> None:
        for node in wanted.everybody:
            seen = machine.running(self.places, node)
            if seen and seen.layers != [str(path) for path in lower(node)]:
                self._say(f"switching {node.name} off: it runs another segue or QEMU than it should")
                self._stop(node)

    def _stop(self, node: Node) -> None:
        if seen := machine.running(self.places, node):
            teardown.end_machine(seen.pid)
        if fabric := machine.running(self.places, nodes.FABRIC):
            bringup.wire(wires.unplug, fabric.pid, node)
        cgroups.remove(self.places, node.name)

    def _change_cuts(self, change: Callable[[tuple[str, ...]], tuple[str, ...]], cut: str) -> None:
        _require_root()
        with state.locked(self.places):
            wanted = state.need(self.places)
            for name in filter(None, cut.split("--")):
                wanted.node(name)
            changed = replace(wanted, cuts=change(wanted.cuts))
            # Also when nothing changes: a crash between these two is mended by doing it again.
            bringup.apply_cuts(self.places, changed.cuts)
            state.save(self.places, changed)


def _not_fabric(node: Node) -> Node:
    if node.role is not Role.FABRIC:
        return node
    raise Refused(
        what="cannot do that to the fabric",
        why="it is the cable between the machines",
        todo="Name a host or a client.",
        kind=Kind.USAGE,
    )


def _demand_store(old: state.Wanted, controllers: int, etcd: int) -> None:
    """Raises Refused for controllers that could not share a store, and for a store that would have to change."""
    why = ""
    if not (etcd or old.etcd) and max(controllers, old.controllers) > 1:
        why = "several controllers on machines of their own need etcd"
    elif etcd and not max(controllers, old.controllers):
        why = "etcd is the controllers' store, and there are none"
    elif etcd and old.etcd not in {0, etcd}:
        why = f"the lab's store has {old.etcd} etcd members"
    elif etcd and old.controllers and not old.etcd:
        why = "the lab's controller keeps its store in a file"
    if why:
        raise Refused(
            what="cannot make these controllers",
            why=why,
            todo="Ask for --controllers 3 --etcd 3, or for --controllers 1; `segue lab down` before another store.",
            kind=Kind.USAGE,
        )


def _not_answering(silent: Sequence[Node], limit_s: float) -> Refused:
    first, log = silent[0].name, control.service(silent[0]).removeprefix("segue-")
    return Refused(
        what=f"{control.service(silent[0])} of {', '.join(node.name for node in silent)} does not answer",
        why=f"nobody took a connection within {limit_s:.0f} s",
        todo=f"Read its log: `segue lab exec {first} -- tail /var/log/segue/{log}/current`.",
        kind=Kind.TIMEOUT,
    )


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Refused(
            what="cannot work on a lab",
            why="it makes namespaces and mounts, and that takes root",
            todo="Run the same command with sudo.",
            kind=Kind.AUTH,
        )
