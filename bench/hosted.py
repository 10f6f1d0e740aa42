"""Runs inside a lab host, fed to its Python by bench/plain.py: a plain QEMU on a tap of the bridge, or none of it.

The arguments are segue's own, and so are user and folder; nothing here talks to the agent.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from segue.adapters.net.tap import open_tap
from segue.adapters.qemu import hatch
from segue.adapters.qemu.command import Places, arguments
from segue.adapters.qemu.machine import BINARY
from segue.model.guest import Guest

FOLDER = Path("/run/segue/bench")
USER = "segue-qemu"
TAP = "plain0"
START_S = 30.0


def start(guest: Guest, *, incoming: bool, autostart: bool) -> None:
    """A QEMU that outlives this script; prints its process number as this host counts."""
    clear()
    places = Places(FOLDER)
    owner = pwd.getpwnam(USER)
    places.folder.mkdir(parents=True)
    hatch.make(places, owner.pw_uid, owner.pw_gid)
    os.chown(places.folder, owner.pw_uid, owner.pw_gid)
    tap = open_tap(TAP)
    Path(f"/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6").write_text("1")
    subprocess.run(
        ["ip", "link", "set", TAP, "mtu", "1500", "master", guest.nics[0].bridge, "up"], check=True
    )
    argv = [
        word
        for word in arguments(guest, places, [tap], incoming=incoming)
        if not (autostart and word == "-S")
    ]
    with places.log.open("ab") as log:
        process = subprocess.Popen(
            [BINARY, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(tap,),
            start_new_session=True,
            cwd=places.folder,
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=os.getgrouplist(USER, owner.pw_gid),
        )
    _wait_until_it_listens(places, process)
    sys.stdout.write(json.dumps({"pid": process.pid, "nice": os.getpriority(os.PRIO_PROCESS, process.pid)}))


def clear() -> None:
    """The tap and the files of an earlier QEMU, which has ended."""
    subprocess.run(["ip", "link", "del", TAP], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(FOLDER, ignore_errors=True)


def _wait_until_it_listens(places: Places, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(places.monitor))
            except (FileNotFoundError, ConnectionRefusedError):
                # QEMU has no way to say that its socket listens now but to be asked.
                time.sleep(0.02)
                continue
            return
    raise SystemExit(f"QEMU did not start: {places.log.read_text()}")


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    if order["do"] == "start":
        wish = msgspec.convert(order["guest"], Guest)
        start(wish, incoming=order["incoming"], autostart=order["autostart"])
    else:
        clear()
