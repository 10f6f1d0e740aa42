"""Trials of files, watches and locks: on the root file system, on a tmpfs, and on a volume where there is one."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trials import NUMBER, Turn, demand, kept

libc = ctypes.CDLL(None, use_errno=True)
CREATED = 0x100
VOLUME = Path("/volume")


def trials() -> Iterator[tuple[str, Turn]]:
    """All of them."""
    places = [Path("/data"), Path("/dev/shm"), *([VOLUME] if VOLUME.is_dir() else [])]
    for place in places:
        yield f"a file that grows, {place}", _growing(place)
        yield f"a deleted file, {place}", _deleted(place)
        yield f"a mapped file, {place}", _mapped(place)
        yield f"a folder, {place}", _folder(place)
        yield f"locks, {place}", _locks(place)
    for place in places[1:]:
        yield f"inotify, {place}", _watch(place)
    memory = os.memfd_create("trial", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 8 * 1000)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield "memfd", _numbers(memory)


def _growing(place: Path) -> Turn:
    path = place / "growing"
    file = path.open("w")
    reader = path.open()

    def turn(number: int) -> None:
        file.write(f"{number}\n")
        file.flush()
        came = reader.readline()
        demand(came == f"{number}\n", f"{came!r} came")
        if number % 50 == 0:
            lines = path.read_text().split()
            demand(
                lines == [str(each) for each in range(number + 1)], f"{len(lines)} lines, not {number + 1}"
            )

    return turn


def _numbers(handle: int) -> Turn:
    def turn(number: int) -> None:
        if number:
            came = NUMBER.unpack(os.pread(handle, 8, (number - 1) % 1000 * 8))[0]
            demand(came == number - 1, f"{came} came")
        os.pwrite(handle, NUMBER.pack(number), number % 1000 * 8)

    return turn


def _deleted(place: Path) -> Turn:
    handle, path = tempfile.mkstemp(dir=place)
    os.unlink(path)
    return _numbers(handle)


def _mapped(place: Path) -> Turn:
    path = place / "mapped"
    path.write_bytes(bytes(8000))
    handle = os.open(path, os.O_RDWR)
    view = mmap.mmap(handle, 8000)

    def turn(number: int) -> None:
        at = number % 1000 * 8
        view[at : at + 8] = NUMBER.pack(number)
        demand(os.pread(handle, 8, at) == NUMBER.pack(number), "file and mapping differ")
        before = (number - 1) % 1000 * 8
        demand(
            not number or view[before : before + 8] == NUMBER.pack(number - 1), "the mapping lost a number"
        )

    return turn


def _folder(place: Path) -> Turn:
    (place / "folder").mkdir(exist_ok=True)
    handle = os.open(place / "folder", os.O_RDONLY | os.O_DIRECTORY)

    def turn(number: int) -> None:
        os.close(os.open(f"{number % 5}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=handle))
        demand(f"{number % 5}" in os.listdir(handle), "a new file is not there")
        demand((place / "folder" / f"{number % 5}").exists(), "it is another folder")
        os.unlink(f"{number % 5}", dir_fd=handle)

    return turn


def _locks(place: Path) -> Turn:
    """Another process must not get them: a lock of its own for each of the two sorts."""
    path = place / "locked"
    one, two = path.open("w"), (place / "locked too").open("w")
    kept.extend((one, two))
    fcntl.lockf(one, fcntl.LOCK_EX)
    fcntl.flock(two, fcntl.LOCK_EX)

    def turn(number: int) -> None:
        if number % 20:
            return
        child = os.fork()
        if child == 0:
            os._exit(int(_gets(path, fcntl.lockf)) + 2 * int(_gets(place / "locked too", fcntl.flock)))
        _, status = os.waitpid(child, 0)
        demand(status == 0, f"another process got a lock ({os.waitstatus_to_exitcode(status)})")

    return turn


def _gets(path: Path, lock: object) -> bool:
    try:
        with path.open("r+") as file:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[operator]
    except OSError as error:
        return error.errno not in {errno.EAGAIN, errno.EACCES}
    return True


def _watch(place: Path) -> Turn:
    folder = place / "watched"
    folder.mkdir(exist_ok=True)
    handle = libc.inotify_init1(os.O_CLOEXEC)
    demand(libc.inotify_add_watch(handle, os.fsencode(folder), CREATED) >= 0, "inotify_add_watch")

    def turn(number: int) -> None:
        path = folder / str(number)
        path.touch()
        came = os.read(handle, 4096)[16:].rstrip(b"\0").decode()
        path.unlink()
        demand(came == str(number), f"{came!r} came")

    return turn
