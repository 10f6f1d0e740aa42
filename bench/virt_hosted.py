"""Runs inside a lab host, fed to its Python by bench/virt.py: libvirt's daemon started by hand, without systemd.

The daemon has the agent's nice level and its QEMUs the usual one, as with segue; it uses the lab's certificates.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

PKI = Path("/etc/segue/pki")
QEMU_PKI = Path("/etc/pki/qemu")
CONFIG = Path("/etc/libvirt")
EMULATOR = Path("/usr/local/bin/bench-qemu")
FOLDER = Path("/run/segue/bench-virt")
SOCKET = Path("/run/libvirt/libvirt-sock")
DAEMON_NICE = -10
START_S = 30.0
DAEMON = {
    "listen_tcp": 1,
    "listen_tls": 0,
    "auth_tcp": "none",
    "auth_unix_rw": "none",
    "log_outputs": f"2:file:{FOLDER}/libvirtd.log",
}
QEMU = {
    "user": "root",
    "group": "root",
    "dynamic_ownership": 0,
    "remember_owner": 0,
    "security_driver": "none",
    "security_default_confined": 0,
    "cgroup_controllers": [],
    "namespaces": [],
    "stdio_handler": "file",
    "default_tls_x509_cert_dir": f"{QEMU_PKI}",
    "default_tls_x509_verify": 1,
}


def start() -> None:
    """Configures and starts the daemon; returns once it listens."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _write_certificates()
    _write_config(CONFIG / "libvirtd.conf", DAEMON)
    _write_config(CONFIG / "qemu.conf", QEMU)
    # The daemon's nice level is undone for the guests: vCPUs of all peers weigh the same.
    EMULATOR.write_text(f'#!/bin/sh\nexec nice -n {-DAEMON_NICE} /usr/bin/qemu-system-x86_64 "$@"\n')
    EMULATOR.chmod(0o755)
    Path("/var/log/libvirt/qemu").mkdir(parents=True, exist_ok=True)
    with (FOLDER / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            ["nice", "-n", str(DAEMON_NICE), "libvirtd", "--listen"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _wait_until_it_listens(process)


def _write_certificates() -> None:
    QEMU_PKI.mkdir(parents=True, exist_ok=True)
    shutil.copy(PKI / "ca.pem", QEMU_PKI / "ca-cert.pem")
    for role in ("server", "client"):
        shutil.copy(PKI / "host.pem", QEMU_PKI / f"{role}-cert.pem")
        shutil.copy(PKI / "host.key", QEMU_PKI / f"{role}-key.pem")


def _write_config(path: Path, values: dict[str, object]) -> None:
    lines = []
    for name, value in values.items():
        text = f'"{value}"' if isinstance(value, str) else str(value)
        lines.append(f"{name} = {text}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def _wait_until_it_listens(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(SOCKET))
            except (FileNotFoundError, ConnectionRefusedError):
                # The daemon has no way to say that its socket listens now but to be asked.
                time.sleep(0.05)
                continue
            return
    raise SystemExit(f"libvirtd did not start: {(FOLDER / 'daemon.log').read_text()}")


if __name__ == "__main__":
    start()
    sys.stdout.write(f"{os.getpid()}\n")
