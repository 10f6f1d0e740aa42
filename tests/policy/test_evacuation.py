"""A host is emptied as fast as the links allow, no target is ever overcommitted, and nobody is forgotten."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.policy import evacuation
from segue.policy.evacuation import CALM_SHARE, Leaving, Plan, Room, Transfer
from tests.thorough import examples

MIB = 1 << 20
names = [f"g{number}" for number in range(12)]
hosts = ["h1", "h2", "h3"]
LINK = 100.0 * MIB
speeds = st.sampled_from([0.25, 0.5, 1.0, 1.0, 2.0]).map(lambda factor: factor * LINK)


@st.composite
def guests(draw: st.DrawFn, most: int) -> list[Leaving]:
    """Guests of 1 to 64 MiB; some write much, some do not fit somewhere."""
    chosen = names[: draw(st.integers(0, most))]
    return [
        Leaving(
            name,
            memory_bytes=(memory := draw(st.integers(1, 64)) * MIB),
            copied_bytes=draw(st.integers(1, memory)),
            dirty_bytes_per_s=draw(st.sampled_from([0.0, 0.1, 0.5, 1.5])) * LINK,
            disk_bytes=draw(st.sampled_from([0, 0, 500])) * MIB,
            obstacles=dict.fromkeys(draw(st.sets(st.sampled_from(hosts), max_size=2)), "it does not fit"),
        )
        for name in chosen
    ]


@st.composite
def rooms(draw: st.DrawFn) -> list[Room]:
    """One to three targets, large and small."""
    count = draw(st.integers(1, 3))
    return [Room(name, draw(st.integers(0, 256)) * MIB, draw(speeds)) for name in hosts[:count]]


def check(plan: Plan, leaving: list[Leaving], targets: list[Room]) -> None:
    """What holds for every plan."""
    by_name = {guest.name: guest for guest in leaving}
    moving = [transfer.guest for transfer in plan.transfers]
    assert sorted([*moving, *plan.staying]) == sorted(by_name)
    assert all(plan.staying.values())
    for room in targets:
        coming = [by_name[t.guest] for t in plan.transfers if t.to == room.name]
        assert sum(guest.memory_bytes for guest in coming) <= room.memory_free_bytes
        assert not any(room.name in guest.obstacles for guest in coming)
    works = [transfer.work_bytes for transfer in plan.transfers]
    assert works == sorted(works, reverse=True)


@given(guests(8), rooms(), speeds)
@settings(deadline=None, max_examples=examples(40))
def test_all_are_placed_or_named_and_no_memory_is_promised_twice(
    leaving: list[Leaving], targets: list[Room], source: float
) -> None:
    check(evacuation.plan(leaving, targets, source), leaving, targets)


@given(guests(4), rooms(), speeds)
@settings(deadline=None, max_examples=examples(50))
def test_no_other_plan_moves_more_guests_or_is_faster(
    leaving: list[Leaving], targets: list[Room], source: float
) -> None:
    made = evacuation.plan(leaving, targets, source)
    best = (len(leaving), 0.0)
    for choice in itertools.product([*targets, None], repeat=len(leaving)):
        moves = [
            Transfer(g.name, r.name, g.memory_bytes, evacuation.work_bytes(g, source), 0.0)
            for g, r in zip(leaving, choice, strict=True)
            if r and r.name not in g.obstacles
        ]
        taken = {r.name: sum(m.memory_bytes for m in moves if m.to == r.name) for r in targets}
        if all(taken[r.name] <= r.memory_free_bytes for r in targets):
            stay = len(leaving) - len(moves)
            best = min(best, (stay, evacuation.links_s(moves, targets, source)))
    assert len(made.staying) == best[0]
    # Which of several sets of guests stays is not said: among those with one size, time decides.
    if best[0] == 0:
        assert made.links_s <= best[1] * 1.000001


@given(st.lists(st.integers(1, 64), min_size=13, max_size=20), rooms())
@settings(deadline=None, max_examples=examples(25))
def test_many_guests_take_little_longer_than_the_links_need(sizes: list[int], targets: list[Room]) -> None:
    leaving = [Leaving(f"g{i}", size * MIB, size * MIB) for i, size in enumerate(sizes)]
    ample = [Room(room.name, 1 << 40, room.link_bytes_per_s) for room in targets]
    made = evacuation.plan(leaving, ample, LINK)
    check(made, leaving, ample)
    total, longest = sum(sizes) * MIB, max(sizes) * MIB
    into = sum(room.link_bytes_per_s for room in ample)
    slowest = min(room.link_bytes_per_s for room in ample)
    assert made.links_s <= max(total / LINK, total / into + longest / slowest) * 1.000001


@given(guests(7), rooms(), speeds, st.integers(1, 4))
@settings(deadline=None, max_examples=examples(50))
def test_admission_never_crowds_a_link_and_never_stands_still(
    leaving: list[Leaving], targets: list[Room], source: float, parallel: int
) -> None:
    waiting = list(evacuation.plan(leaving, targets, source).transfers)
    running: list[Transfer] = []
    done = 0
    while waiting or running:
        begun = evacuation.admit(waiting, running, source, parallel)
        assert begun or running, "nothing runs and nothing begins"
        waiting = [transfer for transfer in waiting if transfer not in begun]
        running += begun
        assert len(running) <= parallel
        part = source / len(running)
        assert len(running) == 1 or all(t.dirty_bytes_per_s <= CALM_SHARE * part for t in running)
        running.pop(0)
        done += 1
    assert done <= len(leaving)


def test_why_a_guest_stays_is_said_for_each_host() -> None:
    big = Leaving("big", 64 * MIB, MIB, obstacles={"h1": "it has no bridge br0"})
    targets = [Room("h1", 1 << 40, LINK), Room("h2", MIB, LINK)]
    why = evacuation.plan([big], targets, LINK).staying["big"]
    assert why == "h1: it has no bridge br0; h2: it has too little memory"
    assert evacuation.plan([big], [], LINK).staying["big"] == "there is no other host"


def test_a_guest_whose_disk_comes_along_begins_before_one_of_more_memory() -> None:
    disk = Leaving("disk", 4 * MIB, MIB, disk_bytes=100 * MIB)
    made = evacuation.plan([Leaving("memory", 64 * MIB, 64 * MIB), disk], [Room("h1", 1 << 40, LINK)], LINK)
    assert [transfer.guest for transfer in made.transfers] == ["disk", "memory"]
    assert made.links_s == pytest.approx(165 * MIB / LINK)
