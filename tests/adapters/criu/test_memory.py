"""The memory of standing processes, read from outside: of a real one that stands still."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.adapters.criu import images, memory
from segue.model.integrity import PROCESS_SHIFT
from tests.adapters.criu.standing import Standing

BLOCK = 1 << 20
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reads another process's memory")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Standing]:
    made = Standing(tmp_path)
    yield made
    made.end()


def test_one_changed_byte_is_seen_in_its_block_and_nowhere_else(held: Standing) -> None:
    at = memory.extent(held.group, BLOCK)
    before = held.digests(at)
    assert before == held.digests(at)
    assert all(len(value) in {0, 32} for value in before)
    for address in (held.own + 12345, held.shared + 1):
        held.change(address)
        block = held.key + address // BLOCK * BLOCK
        after = held.digests(at)
        assert [one for one, a, b in zip(at, before, after, strict=True) if a != b] == [block]
        before = after


def test_a_sample_is_of_pages_that_hold_something(held: Standing) -> None:
    chosen = memory.sample(held.group, 8)
    assert 0 < len(chosen) <= 8
    assert all(at % memory.PAGE_BYTES == 0 for at in chosen)
    page = held.key + held.own // memory.PAGE_BYTES * memory.PAGE_BYTES
    (value,) = held.digests((page,), memory.PAGE_BYTES)
    held.change(held.own)
    assert held.digests((page,), memory.PAGE_BYTES) != (value,)


def test_what_the_kernel_writes_itself_does_not_count(held: Standing) -> None:
    area = held.own + 4096
    core = memory.Core(thread={"rseq": {"pointer": area, "size": 32}})
    entry = core.SerializeToString()
    (held.images / "core-1.img").write_bytes(bytes(images.HEAD_BYTES) + images.packed(entry))
    assert memory.kernels_areas(held.images) == {area: 32}
    block = (held.key + area // BLOCK * BLOCK,)
    before = held.digests(block)
    for address in (area, area + 31):
        held.change(address)
    assert held.digests(block) == before
    held.change(area + 32)
    assert held.digests(block) != before


def test_what_is_not_there_has_no_digest(held: Standing) -> None:
    assert held.digests((held.key + (1 << 46), 77777777 << PROCESS_SHIFT)) == ("", "")


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_an_image_that_nobody_wrote_is_refused_or_says_nothing(raw: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "core-1.img").write_bytes(raw)
        try:
            found = memory.kernels_areas(Path(folder))
        except ValueError:
            return
        assert all(address > 0 for address in found)
