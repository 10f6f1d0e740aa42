"""Programs of the lab's base image, without a lab."""

from __future__ import annotations

from pathlib import Path

from segue.lab import places, rootfs

# The base image is a whole Debian with QEMU: only /proc, /dev and two folders of ours have to be put into it.
IN_BASE = """
base=$1 images=$2 scratch=$3; shift 3
mount -t proc proc "$base/proc"
mount --rbind /dev "$base/dev"
mount --bind "$images" "$base/srv/segue/images"
mount --bind "$scratch" "$base/mnt"
exec chroot "$base" env TMPDIR=/mnt "$@"
"""


def in_base(scratch: Path, *command: str) -> list[str]:
    base = rootfs.ensure(places.cache(), print)
    store = places.cache() / "images"
    return ["unshare", "--mount", "sh", "-ec", IN_BASE, "sh", str(base), str(store), str(scratch), *command]
