"""Choosing cells and peers, and the order of the turns."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cells, world


def test_a_name_says_what_the_cell_is() -> None:
    cell = cells.BY_NAME["dirty150-1g-1gbit"]
    assert (cell.memory_bytes, cell.dirty_percent, cell.link_bits_per_s) == (1 << 30, 150, 10**9)
    assert cells.BY_NAME["idle-256m"].link_bits_per_s is None


def test_the_matrix_is_whole_and_its_names_differ() -> None:
    assert len(cells.BY_NAME) == len(cells.MATRIX) == 3 * 2 * 5 + 2


def test_sets_and_patterns_choose_in_the_order_of_the_matrix() -> None:
    assert [cell.name for cell in cells.choose("idle-1g,idle-256m")] == ["idle-256m", "idle-1g"]
    assert {cell.name for cell in cells.choose("core")} == set(cells.SETS["core"])
    assert len(cells.choose("all")) == len(cells.MATRIX)
    assert all(cell.dirty_percent == 90 for cell in cells.choose("dirty90-*"))


def test_with_a_disk_take_part_those_that_copy_it() -> None:
    cell = cells.BY_NAME["dirty50-256m-1gbit-disk"]
    assert cell.disk
    assert cell.guest != cells.BY_NAME["dirty50-256m-1gbit"].guest
    assert world.chosen(cell, "") == ["segue", "libvirt 10 ms"]
    assert not [peer for peer in world.chosen(cell, "*") if peer.startswith(("plain", "floor"))]


def test_a_cell_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="idle-2g"):
        cells.choose("idle-256m,idle-2g")


@given(runs=st.integers(1, 6), done=st.dictionaries(st.sampled_from("abc"), st.integers(0, 8)))
def test_turns_make_what_is_missing_and_nothing_twice(runs: int, done: dict[str, int]) -> None:
    made = Counter(peer for _, peer in cells.turns("abc", runs, done))
    assert all(made[peer] == max(0, runs - done.get(peer, 0)) for peer in "abc")


def test_turns_are_interleaved_and_begin_with_another_peer() -> None:
    order = "".join(peer for _, peer in cells.turns("abc", 3, {}))
    assert order == "abcbcacab"


def test_everybody_takes_part_in_the_first_cell_and_the_best_in_the_others() -> None:
    assert "libvirt 10 ms TLS" in world.chosen(cells.BY_NAME["idle-256m"], "")
    lean = world.chosen(cells.BY_NAME["idle-1g"], "")
    assert {"segue", "plain 1 ms", "libvirt 10 ms", "floor"} <= set(lean)
    assert "libvirt 10 ms TLS" not in lean


def test_the_floor_is_that_of_a_guest_at_rest() -> None:
    assert "floor" not in world.chosen(cells.BY_NAME["dirty50-256m"], "*")
    assert "libvirt 10 ms post-copy" in world.chosen(cells.BY_NAME["dirty150-256m"], "")


def test_peers_can_be_chosen_by_pattern() -> None:
    assert world.chosen(cells.BY_NAME["idle-1g"], "segue,plain safe*") == ["segue", "plain safe 1 ms"]
