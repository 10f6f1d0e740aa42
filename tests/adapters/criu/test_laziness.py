"""What of an application's memory may come later: CRIU's own rule, and less than that."""

from __future__ import annotations

import mmap
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from segue.adapters.criu import areas, images, laziness, pagemap
from segue.adapters.criu.laziness import GROWSDOWN, HUGETLB, LOCKED, NEEDED, OWN, STACK_PAGES
from segue.adapters.criu.pagemap import IN_PARENT, LAZY, PAGE_BYTES, PRESENT
from tests.thorough import examples

PAGES = 200
Area = tuple[int, int, int, int, int]
"""(pages before it, its pages, flags of the mapping, status, madv)"""
made_areas = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(1, 40),
        st.sampled_from([NEEDED, NEEDED | LOCKED, NEEDED | GROWSDOWN, NEEDED | HUGETLB, mmap.MAP_PRIVATE]),
        st.sampled_from([1, 1, 1, 1 | OWN & 1 << 13]),
        st.sampled_from([0, 0, areas.WIPED]),
    ),
    max_size=6,
)
entries = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 30), st.sampled_from([PRESENT, PRESENT | LAZY, IN_PARENT])),
    max_size=6,
)


def write(
    folder: Path, pid: int, wanted: list[Area], pages: list[tuple[int, int, int]], stack: int
) -> dict[int, Area]:
    """Images of one process; page -> the area that it is in."""
    space, at, found = areas.Space(), 0, dict[int, Area]()
    for area in wanted:
        before, count, flags, status, madv = area
        at += before
        space.areas.add(
            start=at * PAGE_BYTES, end=(at + count) * PAGE_BYTES, flags=flags, status=status, madv=madv
        )
        found |= dict.fromkeys(range(at, at + count), area)
        at += count
    (folder / f"mm-{pid}.img").write_bytes(bytes(8) + images.packed(space.SerializeToString()))
    core = laziness.Core()
    core.info.registers.sp = stack * PAGE_BYTES + 8
    (folder / f"core-{pid}.img").write_bytes(bytes(8) + images.packed(core.SerializeToString()))
    made, at = bytes(8) + images.packed(pagemap.Head(pages_id=pid).SerializeToString()), 0
    for before, count, flags in pages:
        entry = pagemap.Entry(vaddr=(at + before) * PAGE_BYTES, few=0, flags=flags, many=count)
        made += images.packed(entry.SerializeToString())
        at += before + count
    (folder / f"pagemap-{pid}.img").write_bytes(made)
    (folder / f"pages-{pid}.img").touch()
    return found


def flags_of(folder: Path, pid: int) -> dict[int, tuple[int, int]]:
    """Page -> (its flags, its place in the file, or -1)"""
    image = pagemap.parsed((folder / f"pagemap-{pid}.img").read_bytes(), "")
    return {
        entry.vaddr // PAGE_BYTES + number: (
            entry.flags,
            at // PAGE_BYTES + number if entry.flags & PRESENT else -1,
        )
        for entry, count, at in image.pieces()
        for number in range(count)
    }


@settings(deadline=None, max_examples=examples(100))
@given(made_areas, made_areas, entries, entries, st.integers(0, PAGES))
def test_only_what_criu_would_hand_over_is_marked_and_nothing_else_changes(
    first: list[Area],
    second: list[Area],
    own: list[tuple[int, int, int]],
    other: list[tuple[int, int, int]],
    sp: int,
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        wanted = {
            pid: write(folder, pid, found, pages, sp)
            for pid, found, pages in ((3, first, own), (4, second, other))
        }
        before = {pid: flags_of(folder, pid) for pid in wanted}
        laziness.mark(folder)
        after = {pid: flags_of(folder, pid) for pid in wanted}
        for pid, pages in after.items():
            assert pages.keys() == before[pid].keys()
            for page, (flags, place) in pages.items():
                assert (flags & ~LAZY, place) == (before[pid][page][0] & ~LAZY, before[pid][page][1])
                _, _, mapping, status, _ = wanted[pid].get(page, (0, 0, 0, 0, 0))
                if flags & LAZY:
                    assert mapping == NEEDED
                    assert not status & OWN
                    assert abs(page - sp) > STACK_PAGES
                    assert not flags & IN_PARENT or flags == IN_PARENT | LAZY
    if not second:
        lazy = {page for page, (flags, _) in after[3].items() if flags & LAZY}
        assert lazy == {
            page
            for page in after[3]
            if page in wanted[3]
            and wanted[3][page][2] == NEEDED
            and not wanted[3][page][3] & OWN
            and abs(page - sp) > STACK_PAGES
        }


def test_memory_that_may_be_shared_by_a_fork_is_not_marked(tmp_path: Path) -> None:
    area: Area = (10, 20, NEEDED, 1, 0)
    for pid in (3, 4):
        write(tmp_path, pid, [area], [(10, 20, PRESENT)], 100)
    write(tmp_path, 5, [(11, 20, NEEDED, 1, 0)], [(11, 20, PRESENT)], 100)
    laziness.mark(tmp_path)
    marked = {pid: any(flags & LAZY for flags, _ in flags_of(tmp_path, pid).values()) for pid in (3, 4, 5)}
    assert marked == {3: False, 4: False, 5: True}


def test_what_begins_anew_is_not_compared(tmp_path: Path) -> None:
    """The state of random numbers: wiped in a fork, and dropped by the kernel when it likes to; CRIU has none of it."""
    wiped, dumped, plain = ((0, 1, NEEDED, 1, flag) for flag in (areas.WIPED, areas.WIPED, 0))
    write(tmp_path, 3, [wiped, dumped, plain], [(1, 1, PRESENT)], 100)
    assert dict(areas.left_out(tmp_path)) == {0: PAGE_BYTES}
