"""Podman's own way to take a container from one host to another: checkpoint, export, copy, import, restore.

With the flags that were fastest: no compression, no root file system (both hosts have the image), everything in memory.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from segue.lab.api import Lab

TOP: Final = "/run/podman-bench"
IMAGE: Final = "localhost/app-python:lab"
PORT: Final = 9999
LIMIT_S: Final = 120.0
NETWORK: Final[dict[str, Any]] = {
    "name": "bench",
    "id": "1".zfill(64),
    "driver": "bridge",
    "network_interface": "br0",
    "created": "2026-01-01T00:00:00Z",
    "subnets": [{"subnet": "10.77.0.0/16", "gateway": "10.77.0.1"}],
    "ipv6_enabled": False,
    "internal": False,
    "dns_enabled": False,
    "options": {"mode": "unmanaged"},
    "ipam_options": {"driver": "host-local"},
}
"""The bridge that segue's applications are plugged into, too."""
RUNTIME: Final = """#!/usr/bin/python3 -IS
import json, os, sys
words = sys.argv[1:]
if "--bundle" in words:
    path = words[words.index("--bundle") + 1] + "/config.json"
    config = json.load(open(path))
    # Not every machine that runs labs can limit anything, and crun insists on a limit that is named.
    config["linux"].pop("resources", None)
    json.dump(config, open(path, "w"))
# CRIU would use iptables, which is the slower way, and not on every host.
os.environ["CRIU_CONFIG_FILE"] = os.path.dirname(sys.argv[0]) + "/criu.conf"
for command in {"checkpoint", "restore"} & set(words):
    # Nor can CRIU write limits there.
    at = words.index(command) + 1
    words[at:at] = ["--manage-cgroups-mode", "ignore"]
os.execvp("crun", ["crun", *words])
"""
SET_UP: Final = f"""
set -e
mkdir -p {TOP}
mountpoint -q {TOP} || mount -t tmpfs -o size=8g none {TOP}
mkdir -p {TOP}/bin {TOP}/networks
cat >{TOP}/bin/crun
echo "network-lock nftables" >{TOP}/bin/criu.conf
chmod 755 {TOP}/bin/crun
"""


class Podman:
    """One container, on one of two hosts."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab, self._address = lab, address
        self._words = [
            "podman",
            "--root",
            f"{TOP}/root",
            "--runroot",
            f"{TOP}/run",
            "--runtime",
            f"{TOP}/bin/crun",
        ]
        self._words += ["--cgroup-manager", "cgroupfs", "--network-config-dir", f"{TOP}/networks"]

    def prepare(self, hosts: tuple[str, ...]) -> None:
        """Image and network, on every host."""
        for host in hosts:
            self._lab.exec(host, ["sh", "-c", SET_UP], input=RUNTIME, check=True)
            network = f"cat >{TOP}/networks/bench.json"
            self._lab.exec(host, ["sh", "-c", network], input=json.dumps(NETWORK), check=True)
            self._podman(host, "load", "-i", "/srv/segue/images/app-python/image.tar")

    def start(self, host: str) -> None:
        """A fresh one."""
        place = ["--network", "bench", "--ip", self._address, "--mac-address", "02:aa:00:00:00:77"]
        free = ["--user", "root", "--ulimit", "host", "--log-driver", "k8s-file"]
        self._podman(host, "run", "-d", "--name", "app1", *place, *free, IMAGE)

    def move(self, source: str, target: str) -> dict[str, float]:
        """Seconds of each part; its memory lies in an archive in between."""
        begun_s = time.monotonic()
        kept = ["--tcp-established", "--file-locks"]
        archive = f"{TOP}/app1.tar"
        self._podman(
            source, "container", "checkpoint", "--export", archive, "--compress", "none",
            "--ignore-rootfs", *kept, "app1",
        )  # fmt: skip
        dumped_s = time.monotonic()
        self._carry(source, target, archive)
        carried_s = time.monotonic()
        self._podman(target, "container", "restore", "--import", archive, "--ignore-rootfs", *kept)
        ended_s = time.monotonic()
        self.remove(source)
        return {
            "dump_s": dumped_s - begun_s,
            "carry_s": carried_s - dumped_s,
            "restore_s": ended_s - carried_s,
            "blackout_s": ended_s - begun_s,
            "total_s": ended_s - begun_s,
        }

    def remove(self, host: str) -> None:
        """Nothing of it stays there."""
        self._podman(host, "rm", "--force", "--time", "0", "--ignore", "app1")
        self._lab.exec(host, ["rm", "-f", f"{TOP}/app1.tar"])

    def _carry(self, source: str, target: str, path: str) -> None:
        """As fast as one connection goes, without encryption."""
        to = self._lab.popen(target, ["sh", "-c", f"nc -l -p {PORT} >{path}"])
        send = f"until nc -N {target} {PORT} <{path}; do sleep 0.01; done"
        self._lab.exec(source, ["sh", "-c", send], timeout=LIMIT_S, check=True)
        if to.wait(LIMIT_S) != 0:
            raise RuntimeError(f"{path} did not get to {target}")

    def _podman(self, host: str, *words: str) -> None:
        done = self._lab.exec(host, ["timeout", "60", *self._words, *words], timeout=LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(f"podman {words[0]} on {host}: {done.stdout[-500:]} {done.stderr[-500:]}")
