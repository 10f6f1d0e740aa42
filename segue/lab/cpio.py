"""Write an initial RAM disk in the `newc` format; it holds what it is given and reads no file system."""

from __future__ import annotations

import stat
from typing import Final

HEADER: Final = "070701" + "{:08X}" * 13
"""Magic, then: inode, mode, uid, gid, links, mtime, size, device pair, node's pair, name size, check.

Linux: Documentation/driver-api/early-userspace/buffer-format.rst.
"""


class Archive:
    """Everything in it belongs to root and carries no time, so that equal contents give equal bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def folder(self, name: str, mode: int = 0o755) -> None:
        if name not in self._names:
            self._add(name, stat.S_IFDIR | mode, b"")

    def link(self, name: str, to: str) -> None:
        self._add(name, stat.S_IFLNK | 0o777, to.encode())

    def console(self, name: str) -> None:
        """The character device 5:1: without it the first process has no standard output."""
        self._add(name, stat.S_IFCHR | 0o600, b"", node=(5, 1))

    def finish(self) -> bytes:
        self._add("TRAILER!!!", 0, b"")
        return b"".join(self._parts)

    def _add(self, name: str, mode: int, data: bytes, node: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            raise ValueError(f"{name} is in the archive already")
        if folder := name.rpartition("/")[0]:
            self.folder(folder)
        self._names.add(name)
        encoded = name.encode() + b"\0"
        fields = (len(self._names), mode, 0, 0, 1, 0, len(data), 0, 0, *node, len(encoded), 0)
        head = HEADER.format(*fields).encode() + encoded
        self._parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
