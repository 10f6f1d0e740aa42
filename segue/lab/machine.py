"""Starts one machine of a lab and knows whether it runs; what joins machines is not its business."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from segue.errors import Kind, Refused
from segue.lab import boot, cgroups, etcd_program, furnish, layers, processes, restart
from segue.lab.nodes import Node, Role
from segue.lab.places import Places, cache

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_LIMIT_S: Final = 30.0


@dataclass(frozen=True)
class Running:
    """What is written down about a machine that was started."""

    pid: int
    birth: str
    layers: list[str]
    cgroup: str


def running(places: Places, node: Node) -> Running | None:
    """The machine's first process, if it lives."""
    try:
        raw = (places.node(node.role, node.name) / "node.json").read_text(encoding="utf-8")
        seen = Running(**json.loads(raw))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return seen if processes.birth(seen.pid) == seen.birth else None


class Boot:
    """A machine on its way up: begin, wait until ready, wire it, let it go."""

    def __init__(self, places: Places, node: Node, everybody: Sequence[Node], lower: Sequence[Path]) -> None:
        self.node = node
        self._folder = places.node(node.role, node.name)
        self._lower = [str(path) for path in lower]
        self._cgroup = cgroups.ensure(places, node.name)
        self._mark = processes.mark(places.top, node.name)
        self._pid = 0
        for name in ("root", "upper", "work", "run", "apps"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        furnish.clear_volatile(self._folder / "run")
        furnish.furnish(places, node, everybody, self._folder / "upper", lower)
        spec = self._folder / "spec.json"
        spec.write_text(json.dumps(asdict(self._spec(places, node))), encoding="utf-8")
        with (self._folder / "console.log").open("ab") as log:
            self._process = _python("segue.lab.boot", str(spec), mark=self._mark, log=log)

    def wait_ready(self) -> int:
        """The number of the machine's first process, once its root file system is in place."""
        deadline = time.monotonic() + BOOT_LIMIT_S
        reader = _Lines(self._process, deadline)
        while line := reader.next():
            word, _, rest = line.partition(" ")
            if word == "pid":
                self._pid = int(rest)
            elif word == "ready":
                self._process.wait()
                return self._pid
            elif word == "failed":
                raise _refused(self.node, rest)
        log = self._folder / "console.log"
        raise Refused(
            what=f"cannot start {self.node.name}",
            why=f"its first process ended or hung; its last words: {_tail(log)}",
            todo=f"Read {log}.",
            kind=Kind.TIMEOUT,
        )

    def go(self) -> Running:
        """Write down that it runs, then let it: a crash in between leaves a machine that ends by itself."""
        seen = Running(self._pid, processes.birth(self._pid), self._lower, self._cgroup)
        half = self._folder / ".node.json.half"
        half.write_text(json.dumps(asdict(seen)), encoding="utf-8")
        half.replace(self._folder / "node.json")
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._close()
        return seen

    def cancel(self) -> None:
        """Give it up; it reads the end of its pipe and ends. Nothing happens after `go`."""
        self._close()
        self._process.kill()
        self._process.wait()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _spec(self, places: Places, node: Node) -> boot.Spec:
        folder = self._folder
        return boot.Spec(
            hostname=node.name,
            root=str(folder / "root"),
            lower=self._lower,
            upper=str(folder / "upper"),
            work=str(folder / "work"),
            binds=_binds(places, node),
            cgroup=self._cgroup,
            command=["/usr/bin/tini", "--", "/usr/bin/runsvdir", "-P", "/etc/service"],
            environ=environ(self._mark),
            reboots=restart.command(places, node) if node.role is Role.HOST else [],
        )


def environ(mark: str) -> dict[str, str]:
    """What a login on a host would have, and the mark by which `down` finds the process."""
    kept = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", processes.MARK: mark, **kept}


def enter_command(seen: Running, argv: Sequence[str]) -> list[str]:
    """The command on the machine that runs `argv` in the lab's machine."""
    cgroup = f"{seen.cgroup}/init" if seen.cgroup else ""
    return [sys.executable, "-S", "-m", "segue.lab.enter", str(seen.pid), cgroup, *argv]


def enter_environ(places: Places, node: Node) -> dict[str, str]:
    """The helper needs to find segue's package, the program inside must not: `enter` drops that one."""
    inside = environ(processes.mark(places.top, node.name))
    return {**inside, "PYTHONPATH": str(layers.package().parent)}


def _binds(places: Places, node: Node) -> list[list[str]]:
    if node.role is Role.ETCD:
        return [[str(etcd_program.folder(cache())), "/opt/etcd", "ro"]]
    if node.role is not Role.HOST:
        return []
    return [
        [str(places.node(node.role, node.name) / "run"), "/run/segue", "rw"],
        # What applications write lies in overlays, which cannot lie on the machine's own.
        [str(places.node(node.role, node.name) / "apps"), "/var/lib/segue/apps", "rw"],
        [str(places.shared), "/srv/segue/shared", "rw"],
        [str(cache() / "images"), "/srv/segue/images", "ro"],
    ]


def _python(module: str, *arguments: str, mark: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-S", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd="/",
        env={
            **restart.environ(),
            "PATH": PATH,
            "PYTHONPATH": str(layers.package().parent),
            processes.MARK: mark,
        },
    )


class _Lines:
    """Lines of a process's output, with a limit; an empty line stands for the end and for the limit."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        assert process.stdout is not None
        self._fd = process.stdout.fileno()
        self._deadline = deadline
        self._seen = b""

    def next(self) -> str:
        while b"\n" not in self._seen:
            rest_s = max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select([self._fd], [], [], rest_s)
            got = os.read(self._fd, 4096) if ready else b""
            if not got:
                return ""
            self._seen += got
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode(errors="replace")


def _refused(node: Node, said: str) -> Refused:
    number, _, text = said.partition(" ")
    if int(number) in (errno.ENODEV, errno.EINVAL):
        return Refused(
            what=f"cannot mount the root file system of {node.name}",
            why=f"the kernel refused the overlay: {text}",
            todo="Put SEGUE_LAB_DIR on ext4, xfs, btrfs or tmpfs; an overlay cannot lie on an overlay.",
        )
    return Refused(
        what=f"cannot start {node.name}",
        why=text,
        todo="The lab needs real root: all capabilities, and the right to mount and to make namespaces.",
    )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(lines[-3:]) or "none"
