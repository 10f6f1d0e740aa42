"""Pages known by what they hold: whatever is left out on the source is put in on the target, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.adapters.criu.pages import PAGE_BYTES, Held, Sent

numbers = st.lists(st.integers(0, 12), max_size=40)


def page(number: int) -> bytes:
    """One of a few, so that the same comes often."""
    return number.to_bytes(2, "big") * (PAGE_BYTES // 2)


def block(found: list[int]) -> bytes:
    return b"".join(map(page, found))


def told(before: list[list[int]], most: int, held: Held) -> Sent:
    """What both sides know after these rounds."""
    sent = Sent(most)
    for each in before:
        held.add(sent._unknown(memoryview(block(each)), bytes([1]) * len(each)))
    return sent


@settings(deadline=None)
@given(before=st.lists(numbers, max_size=4), image=numbers, most=st.integers(0, 20), at=st.integers(0, 3))
def test_an_image_is_the_same_there(before: list[list[int]], image: list[int], most: int, at: int) -> None:
    with TemporaryDirectory() as folder:
        held = Held(Path(folder, "pages"))
        sent = told(before, most, held)
        part = sent.short(block(image))
        known = {number for each in before for number in each}
        if most >= len(known):
            assert bool(part) is bool(known & set(image))
        if part:
            assert len(part) < len(block(image))
            to = os.open(Path(folder, "image"), os.O_RDWR | os.O_CREAT)
            held.write(to, at * PAGE_BYTES, part)
            assert os.pread(to, len(block(image)), at * PAGE_BYTES) == block(image)
            os.close(to)
        held.close()
        assert not os.listdir(folder) or part


@settings(deadline=None)
@given(said=st.binary(max_size=300))
def test_what_nobody_said_is_refused(said: bytes) -> None:
    with TemporaryDirectory() as folder:
        held = Held(Path(folder, "pages"))
        held.add(page(1))
        to = os.open(Path(folder, "image"), os.O_RDWR | os.O_CREAT)
        try:
            held.write(to, 0, said)
        except ValueError:
            pass
        else:
            assert os.fstat(to).st_size <= len(said)
        finally:
            os.close(to)
            held.close()


def test_half_a_page_is_refused(tmp_path: Path) -> None:
    held = Held(tmp_path / "pages")
    with pytest.raises(ValueError, match="half a page"):
        held.add(b"x")
    held.close()
