"""What must hold for an application after every fault: one copy, where it is said to be, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab import calm
from tests.lab.moves import ENDS
from tests.lab.scene import GUEST

if TYPE_CHECKING:
    from tests.lab.app_scene import AppScene

PROGRAMS: Final = (b"criu", b"crun", b"segue.adapters.criu", b"criu-hook")
"""Nothing of these outlives a move."""
WARDEN: Final = b"/oci/warden.py"


def unrest(scene: AppScene) -> list[str]:
    """Everything that is not as it must be; empty when all is well."""
    shown = [guest for host in scene.hosts for guest in scene.call(host, "GET", "/guests")]
    at = [(g["host"], g["phase"], g["state"]) for g in shown]
    owner = at[0][0] if at else ""
    if at != [(owner, "owner", "running")]:
        return [f"{g['name']} is {g['phase']} and {g['state']} on {g['host']}" for g in shown] or ["no guest"]
    return [line for host in scene.hosts for line in _left(scene, host, owner)]


def _left(scene: AppScene, host: str, owner: str) -> Iterator[str]:
    wanted = host == owner
    yield from _processes(scene, host, wanted)
    yield from _files(scene, host, wanted)
    yield from _network(scene, host, wanted)
    for record in scene.call(host, "GET", "/migrations"):
        if record["stage"] not in ENDS:
            yield f"a migration from {host} is in {record['stage']}, {record['step']}"


def _processes(scene: AppScene, host: str, wanted: bool) -> Iterator[str]:
    commands = {pid: calm.command(pid) for pid in scene.lab.host_pids(host)}
    for pid, command in commands.items():
        if any(program in command for program in PROGRAMS):
            yield f"{host} has {pid}: {command[:80]!r}"
    if (wardens := sum(WARDEN in command for command in commands.values())) != int(wanted):
        yield f"{host} has {wardens} wardens"
    copies = scene.census.on(host)
    if bool(copies) != wanted:
        yield f"{host} has processes {copies} in the application's cgroup"
    if scene.census.frozen(host):
        yield f"what is on {host} is frozen"
    if not wanted and scene.census.group(host).exists():
        yield f"{host} has the application's cgroup"


def _files(scene: AppScene, host: str, wanted: bool) -> Iterator[str]:
    root = Path(f"/proc/{scene.lab.host_pids(host)[0]}/root")
    places = {
        "run/segue/moves/*": False,
        f"run/segue/apps/{GUEST}/criu-root": False,
        f"run/segue/apps/{GUEST}": wanted,
        f"run/segue/crun/{GUEST}": wanted,
        f"run/netns/sg-{GUEST}": wanted,
        f"var/lib/segue/apps/{GUEST}": wanted,
        "run/segue/keys/*": False,
    }
    for pattern, expected in places.items():
        found = sorted(path.name for path in root.glob(pattern))
        if bool(found) != expected:
            yield f"{host} has {found} of {pattern}"
    mounts = (Path("/proc") / str(scene.lab.host_pids(host)[0]) / "mountinfo").read_text().splitlines()
    own = [line.split()[4] for line in mounts if GUEST in line.split()[4] or "/segue/moves" in line]
    kinds = sorted({os.path.basename(place) for place in own})
    if kinds != (["rootfs", f"sg-{GUEST}"] if wanted else []):
        yield f"{host} has mounts {own}"


def _network(scene: AppScene, host: str, wanted: bool) -> Iterator[str]:
    taps = calm.interfaces(scene, host, "tap")
    if len(taps) != int(wanted):
        yield f"{host} has cables {taps}"
    if sockets := calm.packet_sockets(scene, host):
        yield f"{host} hears frames on {sockets}"
    if tunnels := calm.interfaces(scene, host, "seg"):
        yield f"{host} has tunnels {tunnels}"
    if ports := calm.listening(scene, host):
        yield f"{host} listens on {ports}"
    # The tool's own words: filters that steer or hush, rules of a firewall, and pins on the bridge.
    said = scene.run(host, "sh", "-c", _RULES)
    if said.strip():
        yield f"{host} has rules left: {said.strip()[:300]}"


_RULES: Final = """
nft list ruleset
for device in $(ls /sys/class/net); do
    for hook in ingress egress; do
        tc filter show dev $device $hook 2>/dev/null | grep 'pref 1 .*fh' | sed "s/^/$device $hook: /"
    done
done
bridge fdb show | grep sticky
true
"""
