"""The recipe of the guest `debian`: a real Debian 13 disk with systemd, SSH and Redis."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from segue.lab import cachefill, guest_services, initrd, kernel, packages

TOOLS: Final = (*initrd.PACKAGES, *guest_services.PACKAGES, "e2fsprogs")
PACKAGES: Final = (
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "qemu-guest-agent",
    "redis-server",
    "systemd-sysv",
    "udev",
)
MODULES: Final = ("virtio_blk", "virtio_net", "virtio_rng", "evdev", "button")
DISK_BYTES: Final = 1536 * cachefill.MIB

FREE_BYTES: Final = 3000 * cachefill.MIB
"""Tools 400 MiB, the guest's packages 700 MiB, and the same again inside the disk."""

DESCRIPTION: Final[dict[str, Any]] = {
    "name": "debian",
    "kernel": "vmlinux",
    "initrd": "initrd",
    "disk": "disk.raw",
    "disk_format": "raw",
    "cmdline": "root=/dev/vda rw console=ttyS0 quiet loglevel=3 net.ifnames=0 mitigations=off no_timer_check"
    " hpet=disable cryptomgr.notests audit=0",
    "login": "root",
    "services": {"ssh": 22, "redis": 6379, "udp-echo": 7000, "tcp-echo": 7001, "dirty": 7002, "http": 8080},
}


def build(root: Path, out: Path, files: Path) -> None:
    """Make the image in `out`; `root` is a folder to work in, `files` are those that go into the guest."""
    build_with(root, out, files, PACKAGES, (), DISK_BYTES)


def build_with(
    root: Path, out: Path, files: Path, wanted: Sequence[str], finishes: Sequence[Path], disk_bytes: int
) -> None:
    """The same with other packages; the scripts `finishes` run in the guest's root after `files/finish`."""
    packages.unpack(root, TOOLS)
    guest = root / "guest"
    packages.install(guest, wanted)
    (guest / "usr/local/bin/segue-guest").write_bytes(guest_services.program(root))
    (guest / "usr/local/bin/segue-guest").chmod(0o755)
    for script in (files / "finish", *finishes):
        _finish(guest, script)
    _hand_out_keys(guest, out)
    kernel.unpack(root, out / "vmlinux")
    archive = initrd.begin(root, files / "init", MODULES, ("dev", "proc", "sys", "disk"))
    (out / "initrd").write_bytes(archive.finish())
    _write_disk(root, out / "disk.raw", disk_bytes)


def _finish(guest: Path, script: Path) -> None:
    shutil.copyfile(script, guest / "tmp/finish")
    packages.run_in(guest, "/bin/sh", "/tmp/finish")
    (guest / "tmp/finish").unlink()


def _hand_out_keys(guest: Path, out: Path) -> None:
    """The key that opens the guest, and the guest's own key, so that nobody has to trust it blindly."""
    shutil.move(guest / "root/id_ed25519", out / "id_ed25519")
    shutil.copyfile(guest / "etc/ssh/ssh_host_ed25519_key.pub", out / "ssh_host_ed25519_key.pub")


def _write_disk(root: Path, to: Path, size_bytes: int) -> None:
    """mke2fs copies the folder into the file system it makes: nothing has to be mounted."""
    with (root / "tmp/disk.raw").open("wb") as disk:
        disk.truncate(size_bytes)
    packages.run_in(
        root, "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", "/guest", "/tmp/disk.raw"
    )
    shutil.move(root / "tmp/disk.raw", to)
