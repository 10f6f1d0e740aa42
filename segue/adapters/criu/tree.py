"""An application's own files, written anew elsewhere in rounds: what changed since the round before, and no more.

The application may change its folders while they are read: no link in them is ever followed, on either host.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

BLOCK_BYTES: Final = 256 << 10
ZEROS: Final = bytes(BLOCK_BYTES)
NOTHING: Final = hashlib.blake2b(ZEROS, digest_size=16).digest()
TICK_NS: Final = 50_000_000
"""A change within the same tick of the kernel's clock as our look leaves the same time."""
HOST_ONLY: Final = frozenset(("trusted.overlay.origin", "trusted.overlay.uuid", "trusted.overlay.impure"))
"""What an overlay notes of the file system below it; it means nothing on another host."""
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MISSING: Final = (FileNotFoundError, NotADirectoryError)
_libc = ctypes.CDLL(None, use_errno=True)
Send = Callable[[str, int, bytes], None]
"""What (`gone`, `entry`, `block`), where in the file, and the data."""


@dataclass
class Known:
    """One path as it was sent last."""

    key: tuple[int, ...]
    blocks: list[bytes] = field(default_factory=list)
    """A digest of each block, for a file."""
    zeros_there: bool = False
    """Beyond those blocks the other host's file holds nothing."""


class Rounds:
    """The source's side: remembers what was sent."""

    def __init__(self, top: Path, parts: tuple[str, ...]) -> None:
        self._top, self._parts = top, parts
        self._known: dict[str, Known] = {}
        self._linked: dict[int, str] = {}
        self._sent = 0
        self._begun_ns = self._before_ns = 0
        """When this round and the one before it were begun."""

    def run(self, send: Send) -> int:
        """One round; bytes of data that were sent. Raises OSError."""
        self._sent, self._linked = 0, {}
        self._before_ns, self._begun_ns = self._begun_ns, time.time_ns()
        seen: set[str] = set()
        top = os.open(self._top, FOLDER)
        try:
            # From here on the first write to a mapped page changes a file's time.
            _write_out(top, self._parts)
            for part in self._parts:
                with contextlib.suppress(FileNotFoundError):
                    self._look(top, part, part, send, seen)
        finally:
            os.close(top)
        for path in sorted(self._known.keys() - seen, reverse=True):
            send("gone", 0, _pack({"path": path}))
            del self._known[path]
        return self._sent

    def _look(self, parent: int, name: str, path: str, send: Send, seen: set[str]) -> None:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            handle = os.open(name, FOLDER, dir_fd=parent)
            try:
                seen.add(path)
                self._entry(handle, "", path, os.fstat(handle), send)
                for inner in os.listdir(handle):
                    with contextlib.suppress(*MISSING):
                        self._look(handle, inner, f"{path}/{inner}", send, seen)
            finally:
                os.close(handle)
            return
        seen.add(path)
        self._entry(parent, name, path, about, send)

    def _entry(self, parent: int, name: str, path: str, about: os.stat_result, send: Send) -> None:
        key = (about.st_ino, about.st_ctime_ns, about.st_mode, about.st_size, about.st_nlink)
        before = self._known.get(path)
        first = self._linked.setdefault(about.st_ino, path) if about.st_nlink > 1 and name else path
        if before is not None and before.key == key and not self._may_have_changed(about):
            return
        # Of a file with several names the other host makes a new one, in which nothing is yet.
        single = before is not None and about.st_nlink == before.key[-1] == 1
        known = self._known[path] = Known(key, before.blocks if before is not None and single else [])
        known.zeros_there = before is None or single
        said = _description(parent, name, path, about)
        if first != path:
            known.blocks = []
            send("entry", 0, _pack(said | {"link": first}))
            return
        if not stat.S_ISREG(about.st_mode):
            known.blocks = []
            send("entry", 0, _pack(said))
            return
        self._file(parent, name, said, known, send)

    def _may_have_changed(self, about: os.stat_result) -> bool:
        """Only the first write to a mapped page after a sync changes the file's time: what was written to it since the
        round before was begun may have come after our look then."""
        return about.st_ctime_ns > self._before_ns - TICK_NS

    def _file(self, parent: int, name: str, said: dict[str, Any], known: Known, send: Send) -> None:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
        try:
            send("entry", 0, _pack(said))
            digests: list[bytes] = []
            for number, offset in enumerate(range(0, said["size"], BLOCK_BYTES)):
                data = _block(handle, offset, min(BLOCK_BYTES, said["size"] - offset))
                digests.append(NOTHING if data is ZEROS else _digest(data))
                if number < len(known.blocks):
                    changed = known.blocks[number] != digests[-1]
                else:
                    changed = not (known.zeros_there and data == ZEROS[: len(data)])
                if changed:
                    send("block", offset, data)
                    self._sent += len(data)
            known.blocks = digests
        finally:
            os.close(handle)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _block(handle: int, offset: int, length: int) -> bytes:
    """What is there; a hole is not read."""
    try:
        if os.lseek(handle, offset, os.SEEK_DATA) >= offset + length:
            return ZEROS if length == BLOCK_BYTES else ZEROS[:length]
    except OSError:  # Nothing but a hole from here on, or a file system that knows of none.
        pass
    return os.pread(handle, length, offset)


def _write_out(top: int, parts: tuple[str, ...]) -> None:
    """Every file system that the parts, or folders in them, lie on; a slow one of somebody else holds nobody up."""
    done: set[int] = set()
    for part in parts:
        with contextlib.suppress(*MISSING):
            handle = os.open(part, FOLDER, dir_fd=top)
            try:
                _sync(handle, done)
                for inner in os.scandir(handle):
                    if inner.is_dir(follow_symlinks=False):
                        _write_out_folder(handle, inner.name, done)
            finally:
                os.close(handle)


def _write_out_folder(parent: int, name: str, done: set[int]) -> None:
    with contextlib.suppress(*MISSING):
        handle = os.open(name, FOLDER, dir_fd=parent)
        try:
            _sync(handle, done)
        finally:
            os.close(handle)


def _sync(handle: int, done: set[int]) -> None:
    device = os.fstat(handle).st_dev
    if device in done:
        return
    done.add(device)
    if _libc.syncfs(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"syncfs: {os.strerror(number)}")


def _pack(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def _description(parent: int, name: str, path: str, about: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "mode": about.st_mode,
        "uid": about.st_uid,
        "gid": about.st_gid,
        "size": about.st_size,
        "mtime_ns": about.st_mtime_ns,
        "device": about.st_rdev,
        "to": os.readlink(name, dir_fd=parent) if stat.S_ISLNK(about.st_mode) else "",
        "xattrs": {key: value.hex() for key, value in _xattrs(parent, name)},
    }


def _xattrs(parent: int, name: str) -> Iterator[tuple[str, bytes]]:
    place = f"/proc/self/fd/{parent}/{name}" if name else f"/proc/self/fd/{parent}/."
    with contextlib.suppress(OSError):
        for key in os.listxattr(place, follow_symlinks=False):
            if key not in HOST_ONLY:
                yield key, os.getxattr(place, key, follow_symlinks=False)


class Copy:
    """The target's side: takes what `Rounds` sends. Raises OSError, ValueError."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._said: dict[str, Any] = {}
        self._file = -1
        self._folders: dict[str, dict[str, Any]] = {}

    def take(self, what: str, offset: int, data: bytes | bytearray) -> None:
        """One word of the source."""
        if what == "block":
            if self._file < 0:
                raise ValueError("a block belongs to no file")
            _write(self._file, offset, data)
            return
        self._close()
        said = json.loads(data)
        if what == "gone":
            self._folders.pop(said["path"], None)
            # It may have gone with what is in its folder's place now.
            with contextlib.suppress(*MISSING), self._parent(said["path"]) as (parent, name):
                _remove(parent, name)
            return
        with self._parent(said["path"]) as (parent, name):
            self._make(parent, name, said)

    def finish(self) -> None:
        """All is there: the folders get the times that they had."""
        self._close()
        for path, said in reversed(self._folders.items()):
            with contextlib.suppress(*MISSING), self._parent(path) as (parent, name):
                _dress(parent, name, said)

    def _make(self, parent: int, name: str, said: dict[str, Any]) -> None:
        kind = stat.S_IFMT(said["mode"])
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            same = stat.S_IFMT(there.st_mode) == kind and kind in {stat.S_IFDIR, stat.S_IFREG}
            if not same or "link" in said or (there.st_nlink > 1 and kind == stat.S_IFREG):
                _remove(parent, name)
        if "link" in said:
            with self._parent(said["link"]) as (other, first):
                os.link(first, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
        elif kind == stat.S_IFDIR:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            self._folders[said["path"]] = said
            _dress(parent, name, said)
        elif kind == stat.S_IFREG:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(name, flags, 0o600, dir_fd=parent)
            os.ftruncate(self._file, said["size"])
            self._said = said
        else:
            if kind == stat.S_IFLNK:
                os.symlink(said["to"], name, dir_fd=parent)
            else:
                os.mknod(name, said["mode"], said["device"], dir_fd=parent)
            _dress(parent, name, said)

    def _close(self) -> None:
        """The file that was written last gets its owner, rights and time."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        with self._parent(self._said["path"]) as (parent, name):
            _dress(parent, name, self._said)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder that a path lies in, opened from part to part, and its last part."""
        *folders, name = path.split("/")
        if not name or any(part in {"", ".", ".."} for part in (*folders, name)):
            raise ValueError(f"{path!r} is no path")
        handle = os.open(self._top, FOLDER)
        try:
            for folder in folders:
                inner = os.open(folder, FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle, name
        finally:
            os.close(handle)


def _write(handle: int, offset: int, data: bytes | bytearray) -> None:
    view, at = memoryview(data), 0
    while at < len(data):
        at += os.pwrite(handle, view[at:], offset + at)


def _dress(parent: int, name: str, said: dict[str, Any]) -> None:
    """Owner first: it takes rights away."""
    os.chown(name, said["uid"], said["gid"], dir_fd=parent, follow_symlinks=False)
    place = f"/proc/self/fd/{parent}/{name}"
    if not stat.S_ISLNK(said["mode"]):
        os.chmod(place, stat.S_IMODE(said["mode"]))
    for key, value in said["xattrs"].items():
        os.setxattr(place, key, bytes.fromhex(value), follow_symlinks=False)
    os.utime(name, ns=(said["mtime_ns"], said["mtime_ns"]), dir_fd=parent, follow_symlinks=False)


def _remove(parent: int, name: str) -> None:
    """A path and all below it."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        handle = os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        for inner in os.listdir(handle):
            _remove(handle, inner)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=parent)
