"""The BMCs of a lab's hosts: one process each on the machine itself, which listens in the lab's fabric.

Run as `python -m segue.lab.bmcs LAB HOST SOCKET` it is one of them. It must outlive its host: that is what it is for.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Final

from segue.lab import bmc, bringup, machine, nodes, places, processes, state, syscalls, wires
from segue.lab.nodes import Node
from segue.lab.places import Places

BACKLOG: Final = 16
DEAF: Final = "/etc/no-acpid"
SHUT_DOWN: Final = f"[ ! -e {DEAF} ] || exit 1; sv -w 10 force-stop /etc/service/*; sync"


def prepare(of: Places) -> None:
    """The password that all of them take; made once."""
    of.bmc.mkdir(mode=0o700, exist_ok=True)
    if not of.bmc_password.exists():
        of.bmc_password.touch(0o600)
        of.bmc_password.write_text(secrets.token_urlsafe(12), encoding="ascii")
    bmc.write_password(of.bmc / "auth", bmc.USER, of.bmc_password.read_text(encoding="ascii"))


def start_missing(of: Places, hosts: int) -> None:
    """Those that do not run."""
    fabric = bringup.need_running(of, nodes.FABRIC)
    for host in nodes.hosts(hosts):
        if not _runs(of, host):
            bringup.wire(wires.give_address, fabric.pid, nodes.bmc_address(host))
            _start(of, host, fabric.pid)


def _runs(of: Places, host: Node) -> bool:
    try:
        seen = json.loads((of.bmc / f"{host.name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return bool(seen["birth"]) and processes.birth(seen["pid"]) == seen["birth"]


def _start(of: Places, host: Node, fabric: int) -> None:
    listening = _listen(fabric, nodes.bmc_address(host), nodes.BMC_PORT)
    with listening, (of.bmc / f"{host.name}.log").open("ab") as log:
        number = listening.fileno()
        started = subprocess.Popen(
            [sys.executable, "-m", "segue.lab.bmcs", of.name, host.name, str(number)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", pass_fds=(number,),
            start_new_session=True,
            env={**os.environ, processes.MARK: processes.mark(of.top, f"bmc-{host.name}")},
        )  # fmt: skip
    seen = {"pid": started.pid, "birth": processes.birth(started.pid)}
    (of.bmc / f"{host.name}.json").write_text(json.dumps(seen), encoding="utf-8")


def _listen(fabric: int, address: str, port: int) -> socket.socket:
    """A socket of the fabric: this process is there only while it makes it."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{fabric}/ns/net", os.O_RDONLY)
    try:
        syscalls.setns(there, syscalls.CLONE_NEWNET)
        try:
            made = socket.create_server((address, port), backlog=BACKLOG)
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)
        os.close(there)
    return made


class _Outlet:
    """The lab's own power switch of one host. The lab is asked anew each time: people switch it, too."""

    def __init__(self, lab: str, host: str) -> None:
        self._lab = lab
        self._host = host

    def is_on(self) -> bool:
        of = places.of(self._lab)
        return machine.running(of, state.need(of).node(self._host)) is not None

    def switch(self, *, on: bool) -> None:
        from segue.lab.api import Lab

        lab = Lab(self._lab)
        if on:
            lab.start(self._host)
        else:
            lab.kill(self._host)

    def ask_off(self) -> None:
        """Whoever presses it does not wait."""
        threading.Thread(target=self._shut_down, daemon=True).start()

    def _shut_down(self) -> None:
        """As a system does it: its services end, then the power goes. One without acpid does not hear the button."""
        from segue.lab.api import Lab

        lab, of = Lab(self._lab), places.of(self._lab)
        seen = machine.running(of, state.need(of).node(self._host))
        done = lab.exec(self._host, ["sh", "-c", SHUT_DOWN]) if seen is not None else None
        if done is not None and done.returncode == 0:
            self.switch(on=False)


def _serve(lab: str, host: str, number: int) -> None:
    node, of = nodes.parse(host), places.of(lab)
    door = bmc.Door(nodes.bmc_address(node), nodes.BMC_PORT, Path(of.bmc / "auth"), number)
    named = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.{lab}"))
    bmc.server(host, named, door, _Outlet(lab, host)).serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
