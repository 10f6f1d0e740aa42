"""The recipe of the guest `micro`: Debian's cloud kernel and a small initial RAM disk with its services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from segue.lab import cachefill, cpio, guest_services, initrd, kernel, packages

PACKAGES: Final = (*initrd.PACKAGES, *guest_services.PACKAGES, "redis-server")
MODULES: Final = ("virtio_net", "virtio_blk", "virtio_rng", "evdev", "button", "pvpanic_pci", "i6300esb")
REDIS: Final = "usr/bin/redis-server"
LIBRARIES: Final = "lib/x86_64-linux-gnu"
LOADER: Final = "lib64/ld-linux-x86-64.so.2"

FREE_BYTES: Final = 600 * cachefill.MIB
"""The unpacked packages take 350 MiB, the image 80 MiB."""

DESCRIPTION: Final[dict[str, Any]] = {
    "name": "micro",
    "kernel": "vmlinux",
    "initrd": "initrd",
    "disk": "",
    "disk_format": "",
    # Where a processor's own timer stops when it sleeps, as under emulation, the HPET wakes QEMU 250 times a second.
    "cmdline": "console=ttyS0 quiet loglevel=3 mitigations=off no_timer_check hpet=disable cryptomgr.notests",
    "login": "console",
    "services": {
        "udp-echo": 7000,
        "tcp-echo": 7001,
        "dirty": 7002,
        "udp-source": 7003,
        "disk": 7004,
        "http": 8080,
        "redis": 6379,
    },
}


def build(root: Path, out: Path, files: Path) -> None:
    """Make the image in `out`; `root` is a folder to work in, `files` are those that go into the guest."""
    packages.unpack(root, PACKAGES)
    kernel.unpack(root, out / "vmlinux")
    (out / "initrd").write_bytes(_initrd(root, files))


def _initrd(root: Path, files: Path) -> bytes:
    archive = initrd.begin(root, files / "init", MODULES, ("dev", "proc", "sys", "etc", "tmp", "run"))
    archive.file("etc/redis.conf", (files / "redis.conf").read_bytes())
    archive.file("bin/segue-guest", guest_services.program(root), 0o755)
    _add_redis(archive, root)
    return archive.finish()


def _add_redis(archive: cpio.Archive, root: Path) -> None:
    """Add the server, the loader and every library that the loader finds for it."""
    archive.file("bin/redis-server", (root / REDIS).read_bytes(), 0o755)
    archive.file(LOADER, (root / LOADER).read_bytes(), 0o755)
    packages.run_in(root, f"/{initrd.BUSYBOX}", "sh", "-c", f"/{LOADER} --list /{REDIS} >/tmp/libraries")
    listed = (root / "tmp/libraries").read_text(encoding="utf-8")
    for library in sorted(set(re.findall(r"=> (/\S+)", listed)) - {f"/{LOADER}"}):
        archive.file(f"{LIBRARIES}/{Path(library).name}", (root / library[1:]).read_bytes(), 0o755)
