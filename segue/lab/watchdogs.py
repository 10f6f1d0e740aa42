"""The watchdogs of a lab's hosts: one process on the machine itself, which takes the power of a host that does not feed
its own.

A host feeds by writing to a file; nothing in its namespaces could reset it. Run as `python -m segue.lab.watchdogs LAB`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from segue.adapters.watchdog import FOOD
from segue.errors import SegueError
from segue.lab import agent_file, machine, places, processes, state
from segue.lab.nodes import Node, Role
from segue.lab.places import Places

LOOK_S: Final = 0.2


def start_missing(of: Places) -> None:
    """Unless it runs."""
    seen = of.top / "watchdogs.json"
    if seen.exists():
        known = json.loads(seen.read_text(encoding="utf-8"))
        if known["birth"] and processes.birth(known["pid"]) == known["birth"]:
            return
    with (of.top / "watchdogs.log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "segue.lab.watchdogs", of.name],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            env={**os.environ, processes.MARK: processes.mark(of.top, "watchdogs")},
        )  # fmt: skip
    found = {"pid": started.pid, "birth": processes.birth(started.pid)}
    seen.write_text(json.dumps(found), encoding="utf-8")


def _is_hungry(file: Path) -> bool:
    """True for one that is armed, and was not fed for its whole time."""
    try:
        hungry_s = time.time() - file.stat().st_mtime
        return hungry_s > agent_file.WATCHDOG_S and file.read_bytes() == FOOD
    except FileNotFoundError:
        return False


def _reset(of: Places, node: Node) -> None:
    from segue.lab.api import Lab

    print(f"{time.time():.1f} the watchdog of {node.name} was not fed", flush=True)
    try:
        Lab(of.name).kill(node.name)
    except SegueError as error:
        print(f"{node.name}: {error}", flush=True)


def _serve(of: Places) -> None:
    while (wanted := state.load(of)) is not None:
        for node in wanted.everybody:
            if node.role is Role.HOST and node.name not in wanted.off:
                file = of.node(node.role, node.name) / "run" / Path(agent_file.WATCHDOG).name
                if _is_hungry(file) and machine.running(of, node) is not None:
                    _reset(of, node)
        time.sleep(LOOK_S)


if __name__ == "__main__":
    _serve(places.of(sys.argv[1]))
