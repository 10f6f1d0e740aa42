"""Take a kernel and the modules it needs out of an unpacked kernel package; loads nothing."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from segue.lab import packages

SETUP_SECTORS_AT: Final = 0x1F1
PAYLOAD_AT: Final = 0x248
"""Offset and length of the compressed kernel (Linux: Documentation/arch/x86/boot.rst)."""


def unpack(root: Path, to: Path) -> None:
    """Write the kernel of `root` as the plain ELF file that QEMU starts by its PVH entry.

    An emulated CPU needs 0.8 s to unpack it at each boot (lab, TCG). Debian packs it with zstd, and `root`
    has to hold that program: Python 3.11 cannot read the format.
    """
    (image,) = (root / "boot").glob("vmlinuz-*")
    data = image.read_bytes()
    offset, length = struct.unpack_from("<II", data, PAYLOAD_AT)
    start = (data[SETUP_SECTORS_AT] + 1) * 512 + offset
    # The last four bytes are not of the stream: they are its unpacked size.
    (root / "tmp/vmlinux.zst").write_bytes(data[start : start + length - 4])
    packages.run_in(root, "/usr/bin/zstd", "-dq", "/tmp/vmlinux.zst", "-o", "/tmp/vmlinux")
    shutil.move(root / "tmp/vmlinux", to)


def modules(root: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The named modules and what they depend on, unpacked, in the order in which they can be loaded."""
    files = {_plain(path.name): path for path in (root / "usr/lib/modules").rglob("*.ko.xz")}
    loaded: dict[str, bytes] = {}
    _collect(files, names, loaded)
    return loaded


def _collect(files: dict[str, Path], names: Iterable[str], loaded: dict[str, bytes]) -> None:
    for name in names:
        if name in loaded:
            continue
        data = lzma.decompress(files[name].read_bytes())
        _collect(files, _dependencies(data), loaded)
        loaded[name] = data


def _dependencies(module: bytes) -> list[str]:
    """The module says itself what has to be there before it (section .modinfo, key `depends`)."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [_plain(name) for name in found[1].decode().split(",") if name] if found else []


def _plain(name: str) -> str:
    """The kernel takes `-` and `_` in a module's name for the same."""
    return name.split(".", 1)[0].replace("-", "_")
