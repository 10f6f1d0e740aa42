"""Two hosts tell by digests whether the file below a disk is the same one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segue.adapters.storage import files

CHUNK = files.CHUNK_BYTES
SIZE = 4 * CHUNK + 100


def sparse(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for at, words in data:
            os.pwrite(file.fileno(), words, at)
    return path


def test_holes_and_zeros_are_the_same(tmp_path: Path) -> None:
    holes = sparse(tmp_path / "holes", SIZE, (2 * CHUNK - 3, b"middle"), (SIZE - 3, b"end"))
    full = tmp_path / "full"
    full.write_bytes(holes.read_bytes())
    assert files.digest(full) == files.digest(holes)


@pytest.mark.parametrize(
    ("size", "at", "words"),
    [(SIZE, 0, b"words"), (SIZE, 2 * CHUNK, b"words"), (SIZE, CHUNK, b"word."), (SIZE + 1, CHUNK, b"words")],
)
def test_another_place_other_words_another_size_is_another_file(
    tmp_path: Path, size: int, at: int, words: bytes
) -> None:
    mine = sparse(tmp_path / "mine", SIZE, (CHUNK, b"words"))
    assert files.digest(sparse(tmp_path / "other", size, (at, words))) != files.digest(mine)


def test_an_almost_empty_file_of_a_terabyte_can_be_digested(tmp_path: Path) -> None:
    large = sparse(tmp_path / "large", 1 << 40, ((1 << 39) + 5, b"words"))
    assert files.digest(large) != files.digest(sparse(tmp_path / "empty", 1 << 40))
