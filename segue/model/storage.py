"""What a guest's disks lie on, as two hosts see it, and what of it has to be copied."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A file below a disk that nobody writes to. `digest` is of the whole file."""

    path: str
    format: str
    file_bytes: int
    digest: str


@dataclass(frozen=True)
class DiskFile:
    """A disk of a running guest. `size_bytes` is what the guest sees, `held_bytes` what the file takes up."""

    id: str
    path: str
    format: str
    size_bytes: int
    held_bytes: int
    cluster_bytes: int = 0
    """qcow2 alone; 0 elsewhere."""
    layers: tuple[Layer, ...] = ()
    """The files below it, the nearest first."""
    snapshots: tuple[str, ...] = ()
    is_file: bool = True


@dataclass(frozen=True)
class Sight:
    """What a host sees at a path."""

    marked: bool = False
    """The other host's fresh marker lies beside it: both see one and the same folder."""
    exists: bool = False
    inode: int = 0
    digest: str = ""
    """Of the whole file, where it was asked for."""
    folder: bool = False
    filesystem: int = 0
    """Equal for paths that share their room."""
    room_bytes: int = 0


@dataclass(frozen=True)
class Look:
    """A question: what do you see at these paths, is `marker` beside them, and what is in the `whole` of some?"""

    marker: str
    paths: tuple[str, ...]
    whole: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskCopy:
    """A disk that has to be brought to the target, with those files below it that are not there yet."""

    disk: DiskFile
    missing: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where a disk of a guest that runs already still comes from: an NBD export of that name at host:port."""

    disk: str
    address: str
    host: str
    migration: str


@dataclass(frozen=True)
class DiskProgress:
    """How far the copy of the disks is."""

    total_bytes: int = 0
    done_bytes: int = 0
