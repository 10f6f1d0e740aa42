"""Writes what a machine of the lab finds in its /etc: names, agent configuration, certificates, services."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.lab import agent_file, control
from segue.lab.nodes import Node, Role
from segue.lab.places import Places

REBOOTS: Final = """#!/usr/bin/python3
# The machine's init starts services and knows no reboot; the kernel does, and the lab starts the machine again.
import ctypes, os
os.sync()
libc = ctypes.CDLL(None, use_errno=True)
if libc.reboot(0x01234567):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


def furnish(
    places: Places, node: Node, everybody: Sequence[Node], root: Path, below: Sequence[Path] = ()
) -> bool:
    """Bring the files under `root` up to date; true if something that an agent reads has changed.

    `root` is the machine's writable layer before it is started, and its /proc/PID/root afterwards: an overlay
    must not be changed behind the back of whoever has it mounted. below: the layers under it, topmost first.
    """
    etc = root / "etc"
    _write(etc / "hostname", f"{node.name}\n")
    _write(etc / "hosts", _hosts_file(everybody))
    if not (etc / "machine-id").exists():
        _write(etc / "machine-id", f"{uuid.uuid4().hex}\n")
    _write(etc / "resolv.conf", "")
    if node.role is Role.FABRIC:
        return False
    changed = _furnish_pki(places, node, etc / "segue" / "pki")
    changed |= _write(etc / "segue" / "context.toml", _context(everybody))
    if node.role is Role.HOST:
        changed |= _write(
            etc / "segue" / "agent.toml", agent_file.text(node, everybody, [root, *below], _lease_s(places))
        )
        _write(root / agent_file.REBOOT.lstrip("/"), REBOOTS, 0o755)
    for file in control.files(places, node, everybody):
        changed |= _write(root / file.path.lstrip("/"), file.text, file.mode)
    if service := control.service(node):
        _link(etc / "service" / service, f"/etc/sv/{service}")
    return changed


def _lease_s(places: Places) -> float:
    return float(places.lease.read_text(encoding="ascii")) if places.lease.exists() else 0.0


def write_machine_context(places: Places, everybody: Sequence[Node]) -> None:
    """The context by which `segue` on the machine itself reaches the agents: their sockets, no network."""
    lines = ["[hosts]"]
    for node in everybody:
        if node.role is Role.HOST:
            lines.append(f'{node.name} = "unix://{places.node(node.role, node.name)}/run/agent.sock"')
    _write(places.context, "\n".join(lines) + "\n")


def _furnish_pki(places: Places, node: Node, folder: Path) -> bool:
    # Imported late, as it is large and needed only here.
    from segue.lab import pki

    authority = pki.ensure_authority(places.pki, f"segue lab {places.name} CA")
    wanted = {"ca.pem": places.pki / "ca.pem"}
    operator = pki.ensure_operator(authority, places.pki)
    wanted |= {"operator.pem": operator.certificate, "operator.key": operator.key}
    admin = pki.ensure_admin(authority, places.pki)
    wanted |= {"admin.pem": admin.certificate, "admin.key": admin.key}
    if node.role is Role.HOST:
        pair = pki.ensure_host(authority, places.pki, node.name, node.address)
        wanted |= {"host.pem": pair.certificate, "host.key": pair.key}
    changed = False
    for name, source in wanted.items():
        mode = 0o600 if name.endswith(".key") else 0o644
        changed |= _write(folder / name, source.read_text(encoding="ascii"), mode)
    return changed


def _hosts_file(everybody: Sequence[Node]) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{node.address} {node.name}" for node in everybody if node.address]
    return "\n".join(lines) + "\n"


def _context(everybody: Sequence[Node]) -> str:
    """With controllers they are asked, and know the hosts; without, each host is."""
    if found := control.urls(everybody):
        return (
            "\n".join(
                ["[controller]", f"urls = {json.dumps(found)}", "", "[tls]", *agent_file.pki_lines("admin")]
            )
            + "\n"
        )
    urls = [f'{node.name} = "{agent_file.url(node)}"' for node in everybody if node.role is Role.HOST]
    return "\n".join(["[hosts]", *urls, "", "[tls]", *agent_file.pki_lines("operator")]) + "\n"


def _link(path: Path, target: str) -> None:
    if not path.is_symlink():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def _write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write by rename, and only what differs; true if it did."""
    if path.is_file() and not path.is_symlink() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    half.replace(path)
    return True


def clear_volatile(run: Path) -> None:
    """A power loss empties /run; this part of it lies on the machine and has to be emptied by hand."""
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True, exist_ok=True)
