"""The recipe of the guest `micro`: Debian's cloud kernel and a small initial RAM disk with its services."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from segue.lab import cpio, kernel, packages

PACKAGES: Final = ("linux-image-cloud-amd64", "busybox-static", "redis-server", "gcc", "libc6-dev", "zstd")
MODULES: Final = ("virtio_net", "virtio_blk", "virtio_rng", "evdev", "button")
SOURCES: Final = ("main.c", "serve.c", "dirty.c", "guest.h")
REDIS: Final = "usr/bin/redis-server"
LIBRARIES: Final = "lib/x86_64-linux-gnu"
LOADER: Final = "lib64/ld-linux-x86-64.so.2"

FREE_BYTES: Final = 800 << 20
"""Unpacked packages take 350 MB, the image 60 MB."""

DESCRIPTION: Final[dict[str, Any]] = {
    "name": "micro",
    "kernel": "vmlinux",
    "initrd": "initrd",
    "disk": "",
    "disk_format": "",
    "cmdline": "console=ttyS0 quiet loglevel=3 mitigations=off no_timer_check cryptomgr.notests",
    "login": "console",
    "services": {"udp-echo": 7000, "tcp-echo": 7001, "dirty": 7002, "http": 8080, "redis": 6379},
}


def build(work: Path, out: Path, files: Path, on_progress: Callable[[str], None]) -> None:
    root = work / "root"
    on_progress("micro: fetching the kernel, busybox and redis")
    packages.unpack(root, PACKAGES)
    on_progress("micro: compiling the guest's services")
    _compile(root, files)
    kernel.unpack(root, out / "vmlinux")
    (out / "initrd").write_bytes(_initrd(root, files))


def _compile(root: Path, files: Path) -> None:
    for name in SOURCES:
        (root / "tmp" / name).write_bytes((files / name).read_bytes())
    sources = [f"/tmp/{name}" for name in SOURCES if name.endswith(".c")]
    packages.run_in(root, "/usr/bin/gcc", "-O2", "-static", "-Wall", "-o", "/tmp/segue-guest", *sources)


def _initrd(root: Path, files: Path) -> bytes:
    archive = cpio.Archive()
    for name in ("dev", "proc", "sys", "etc", "tmp", "run"):
        archive.folder(name)
    archive.console("dev/console")
    archive.file("init", (files / "init").read_bytes(), 0o755)
    archive.file("etc/redis.conf", (files / "redis.conf").read_bytes())
    for number, (name, data) in enumerate(kernel.modules(root, MODULES).items()):
        archive.file(f"modules/{number:02}-{name}.ko", data)
    _add_busybox(archive, root / "usr/bin/busybox")
    archive.file("bin/segue-guest", (root / "tmp/segue-guest").read_bytes(), 0o755)
    _add_redis(archive, root)
    return archive.finish()


def _add_busybox(archive: cpio.Archive, busybox: Path) -> None:
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=30)
    for name in set(listed.stdout.split()) - {"busybox"}:
        archive.link(f"bin/{name}", "busybox")


def _add_redis(archive: cpio.Archive, root: Path) -> None:
    """Add the server, the loader and every library that the loader finds for it."""
    archive.file("bin/redis-server", (root / REDIS).read_bytes(), 0o755)
    archive.file(LOADER, (root / LOADER).read_bytes(), 0o755)
    listed = packages.run_in(root, f"/{LOADER}", "--list", f"/{REDIS}")
    for library in sorted(set(re.findall(r"=> (/\S+)", listed)) - {f"/{LOADER}"}):
        archive.file(f"{LIBRARIES}/{Path(library).name}", (root / library[1:]).read_bytes(), 0o755)
