"""Writes agent.toml for the agent that a host really has: one of an earlier version refuses keys that it does not know.

It must never ask which version that is: what an agent knows stands in its own code.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from segue.lab import control, nodes
from segue.lab.layers import APP
from segue.lab.nodes import Node, Role

T = TypeVar("T")
CODE: Final = f"{APP}/segue/agent/config.py"
REBOOT: Final = "/usr/local/sbin/reboot"
WATCHDOG: Final = "/run/segue/watchdog"
"""A file that watchdogs.py looks at from outside: namespaces have no watchdog of their own."""
WATCHDOG_S: Final = 4
SHAPE: Final = "Config"
"""The class in it whose fields are the file's keys."""


def text(node: Node, everybody: Sequence[Node], layers: Sequence[Path], lease_s: float = 0.0) -> str:
    """The file for this host. layers: its file system, topmost first. lease_s: of its guests; 0: they have none."""
    peers = [other for other in everybody if other.role is Role.HOST and other != node]
    controllers = control.urls(everybody)
    values = {
        "name": node.name,
        "address": node.address,
        "port": nodes.AGENT_PORT,
        "bridge": node.interface,
        "state_dir": "/var/lib/segue",
        "run_dir": "/run/segue",
        "images_dir": "/srv/segue/images",
        "shared_dir": "/srv/segue/shared",
        "socket": "/run/segue/agent.sock",
        "failpoints": "/run/segue/failpoints",
        **({"controllers": controllers} if controllers else {}),
    }
    networks = ["[networks.lan]", f'bridge = "{node.interface}"', "", "[networks.blue]"]
    tables = {
        "networks": [*networks, f"vni = {nodes.OVERLAY_VNI}"],
        "maintenance": ["[maintenance]", "commands = true", f'reboot = ["{REBOOT}"]'],
        "tls": ["[tls]", *pki_lines("host")],
        "peers": ["[peers]", *(f'{other.name} = "{url(other)}"' for other in peers)],
    }
    if lease_s:
        watchdog = [f'watchdog = "{WATCHDOG}"', f"watchdog_seconds = {WATCHDOG_S}"]
        tables["lease"] = ["[lease]", f"seconds = {lease_s:g}", *watchdog]
    keys = _known(layers)
    lines = [f"{key} = {json.dumps(value)}" for key, value in _only(values, keys).items()]
    for table in _only(tables, keys).values():
        lines += ["", *table]
    return "\n".join(lines) + "\n"


def pki_lines(name: str) -> list[str]:
    """The certificate of that name, as both an agent's file and a context have it."""
    folder = "/etc/segue/pki"
    return [f'ca = "{folder}/ca.pem"', f'cert = "{folder}/{name}.pem"', f'key = "{folder}/{name}.key"']


def url(node: Node) -> str:
    """Where a host's agent is found."""
    return f"https://{node.address}:{nodes.AGENT_PORT}"


def _only(found: Mapping[str, T], keys: frozenset[str] | None) -> dict[str, T]:
    return {key: value for key, value in found.items() if keys is None or key in keys}


def _known(layers: Sequence[Path]) -> frozenset[str] | None:
    """The keys that the agent takes; None where its code does not say."""
    code = next((layer / CODE for layer in layers if (layer / CODE).is_file()), None)
    if code is None:
        return None
    for item in ast.parse(code.read_text(encoding="utf-8")).body:
        if isinstance(item, ast.ClassDef) and item.name == SHAPE:
            fields = [line.target for line in item.body if isinstance(line, ast.AnnAssign)]
            return frozenset(field.id for field in fields if isinstance(field, ast.Name))
    return None
