"""The reserve: who would find no place if one host died."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost
from segue.policy import reserve

GIB = 1 << 30


def _fleet(rooms_gib: list[int], guests: list[tuple[int, int]]) -> Fleet:
    """guests: (host, GiB)."""
    blank = FleetHost(name="", memory_bytes=0, cpus=64, cpu_overcommit=8.0)
    hosts = tuple(replace(blank, name=f"h{n}", memory_bytes=gib * GIB) for n, gib in enumerate(rooms_gib))
    made = (
        FleetGuest(name=f"g{n}", needs=Amounts(gib * GIB, 1), host=f"h{host}")
        for n, (host, gib) in enumerate(guests)
    )
    return Fleet(hosts, tuple(made))


def test_what_fits_nowhere_else_is_named() -> None:
    assert reserve.lacking(_fleet([8, 8], [(0, 5), (1, 2)])) == {}
    assert reserve.lacking(_fleet([8, 8], [(0, 5), (0, 2), (1, 4)])) == {"h0": ("g0",), "h1": ("g2",)}


def test_room_that_two_hosts_count_on_is_enough_for_either() -> None:
    """One host at a time: each of them may count on the third."""
    assert reserve.lacking(_fleet([4, 4, 4], [(0, 4), (1, 4)])) == {}


def test_a_guest_whose_disk_dies_with_its_host_is_no_question_of_room() -> None:
    made = _fleet([8, 8], [(0, 8), (1, 8)])
    local = tuple(replace(guest, needs=replace(guest.needs, disk_bytes=1)) for guest in made.guests)
    assert reserve.lacking(made).keys() == {"h0", "h1"}
    assert reserve.lacking(replace(made, guests=local)) == {}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=8))
def test_another_empty_host_as_large_as_the_largest_is_always_enough(guests: list[tuple[int, int]]) -> None:
    assert reserve.lacking(_fleet([32, 32, 32, 32], guests)) == {}
