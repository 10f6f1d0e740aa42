"""Starts a machine of the lab again that has rebooted itself; run outside of it by whoever waited for its end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

from segue.lab.nodes import Node
from segue.lab.places import Places

KEPT: Final = ("SEGUE_LAB_DIR", "SEGUE_LAB_CACHE")


def command(places: Places, node: Node) -> list[str]:
    """What restarts that machine, with all that Python has, and not as its first process does."""
    return [sys.executable, "-m", "segue.lab.restart", str(places.top), node.name]


def environ() -> dict[str, str]:
    """Where labs and their cache are."""
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def main() -> int:
    """One that was switched off meanwhile, or started by somebody, stays as it is."""
    from segue.lab import bringup, machine, state  # They know this module.

    top = Path(sys.argv[1])
    places = Places(top.name, top)
    with state.locked(places) as exists:
        wanted = state.load(places) if exists else None
        if wanted is None:
            return 0
        node = wanted.node(sys.argv[2])
        if node.name in wanted.off or machine.running(places, node) is not None:
            return 0
        raw = (places.node(node.role, node.name) / "node.json").read_text(encoding="utf-8")
        layers = [Path(layer) for layer in json.loads(raw)["layers"]]
        bringup.restart(places, wanted, node, layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
