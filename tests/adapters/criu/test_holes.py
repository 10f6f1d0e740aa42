"""Pages that are not in place yet: against a plain table of pages, whatever the process does with its memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from segue.adapters.criu.holes import Hole, Holes
from tests.thorough import examples

PAGES = 40
places = st.integers(0, PAGES - 1)
lengths = st.integers(1, 12)
steps = st.one_of(
    st.tuples(st.just("cut"), places, lengths),
    st.tuples(st.just("move"), places, lengths, st.integers(0, PAGES)),
)
first_holes = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 3)), max_size=6)


def _table(holes: Holes) -> dict[int, tuple[int, int]]:
    """Page -> (file, place in it)"""
    return {
        at: (hole.file, hole.offset + at - hole.start) for hole in holes for at in range(hole.start, hole.end)
    }


def _made(wishes: list[tuple[int, int, int]]) -> Holes:
    """(gap before it, pages, file) of each."""
    at, made = 0, list[Hole]()
    for gap, pages, file in wishes:
        made.append(Hole(at + gap, at + gap + pages, file, 100 * len(made)))
        at += gap + pages
    return Holes(reversed(made))


@settings(max_examples=examples(300))
@given(first_holes, st.lists(steps, max_size=8), places, lengths)
def test_they_are_what_a_table_of_pages_says(
    wishes: list[tuple[int, int, int]], changes: list[tuple[object, ...]], at: int, length: int
) -> None:
    holes = _made(wishes)
    forked, table = holes.copy(), _table(holes)
    before = dict(table)
    for change in changes:
        start, pages = int(str(change[1])), int(str(change[2]))
        lost = {page: table.pop(page) for page in range(start, start + pages) if page in table}
        if change[0] == "cut":
            assert _table(Holes(holes.cut(start, start + pages))) == lost
        else:
            to = int(str(change[3]))
            if to < start + pages and start < to + pages:
                table |= lost
                continue  # mremap(2) refuses that.
            holes.move(start, to, pages)
            table = {page: place for page, place in table.items() if not to <= page < to + pages}
            table |= {page - start + to: place for page, place in lost.items()}
    assert _table(holes) == table
    assert bool(holes) is bool(table)
    seen = _table(Holes(holes.within(at, at + length)))
    assert seen == {page: place for page, place in table.items() if at <= page < at + length}
    assert [hole.start for hole in holes] == sorted(hole.start for hole in holes)
    assert _table(forked) == before
