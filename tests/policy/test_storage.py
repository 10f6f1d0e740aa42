"""What is shared, what is copied, what is refused."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.storage import DiskFile, Layer, Sight
from segue.policy import storage
from segue.policy.storage import MARGIN_BYTES, Plan

BASE = Layer("/images/base.raw", "raw", 1 << 20, "d1")
DISK = DiskFile("disk0", "/disks/web1.qcow2", "qcow2", 1 << 30, 5 << 20, 65536, (BASE,))
HERE = {DISK.path: Sight(exists=True, inode=7, folder=True)}
EMPTY = Sight(folder=True, filesystem=1, room_bytes=1 << 30)
HAS_BASE = {BASE.path: replace(EMPTY, exists=True, inode=3, digest="d1")}


def plan(there: dict[str, Sight], disk: DiskFile = DISK) -> Plan:
    return storage.plan((disk,), HERE, there)


def test_the_same_file_under_our_marker_is_shared() -> None:
    seen = replace(EMPTY, marked=True, exists=True, inode=7)
    assert plan({DISK.path: seen, **HAS_BASE}) == Plan()


@given(st.integers(0, 20), st.booleans())
def test_a_file_is_shared_only_by_marker_and_inode(inode: int, marked: bool) -> None:
    """A clone of the whole host has the same names, inodes, sizes and contents: only the marker tells."""
    found = plan({DISK.path: replace(EMPTY, marked=marked, exists=True, inode=inode), **HAS_BASE})
    shared = found == Plan()
    assert shared == (marked and inode == 7)
    assert shared or any("another file" in reason for reason in found.obstacles)


def test_a_disk_that_is_not_there_is_copied_on_the_base_that_is() -> None:
    found = plan({DISK.path: EMPTY, **HAS_BASE})
    assert found.obstacles == ()
    assert [(copy.disk, copy.missing) for copy in found.copies] == [(DISK, ())]


def test_a_base_that_is_not_there_is_brought() -> None:
    found = plan({DISK.path: EMPTY, BASE.path: EMPTY})
    assert found.obstacles == ()
    assert found.copies[0].missing == (BASE,)


def test_a_base_with_another_content_is_refused() -> None:
    found = plan({DISK.path: EMPTY, BASE.path: replace(HAS_BASE[BASE.path], digest="d2")})
    assert "another file than ours" in found.obstacles[0]


def test_a_shared_disk_needs_its_base_there() -> None:
    seen = replace(EMPTY, marked=True, exists=True, inode=7)
    found = plan({DISK.path: seen, BASE.path: EMPTY})
    assert "does not see /images/base.raw" in found.obstacles[0]


def test_snapshots_would_be_lost_and_devices_are_not_copied() -> None:
    odd = replace(DISK, snapshots=("before",), is_file=False)
    words = " ".join(plan({DISK.path: EMPTY, **HAS_BASE}, odd).obstacles)
    assert "internal snapshots (before)" in words
    assert "block device" in words


def test_no_folder() -> None:
    assert "no folder" in plan({DISK.path: Sight(), **HAS_BASE}).obstacles[0]


@given(st.integers(0, 1 << 28), st.booleans())
def test_room_is_counted_once_per_file_system(room: int, together: bool) -> None:
    """together: the disk and the base below it lie on one file system, else on two of the same size."""
    sights = {
        DISK.path: replace(EMPTY, room_bytes=room),
        BASE.path: replace(EMPTY, room_bytes=room, filesystem=1 if together else 2),
    }
    needed = DISK.held_bytes + BASE.file_bytes if together else DISK.held_bytes
    assert bool(plan(sights).obstacles) == (needed + MARGIN_BYTES > room)


@given(st.booleans())
def test_a_disk_in_the_common_folder_is_never_copied(exists: bool) -> None:
    seen = replace(EMPTY, exists=exists, inode=7)
    found = storage.plan((DISK,), HERE, {DISK.path: seen, **HAS_BASE}, common="/disks")
    assert found.copies == ()
    (reason,) = found.obstacles
    assert ("another file" if exists else "does not see") in reason
