"""Moves share links fairly, wait for slots, and all of them come to an end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Uplink
from segue.model.plan import Outlook
from segue.policy import timetable
from segue.policy.evacuation import CALM_SHARE
from segue.policy.outlook import Basis
from segue.policy.timetable import Job, Roads, Slots
from tests.thorough import examples

LINK = 1e9
FIXED_S = Basis().lessons.fixed_total_s
FLEET = Fleet(
    tuple(FleetHost(f"h{n}", 1, 1, link_bytes_per_s=LINK, labels={"rack": f"r{n // 2}"}) for n in range(6)),
    uplinks=(Uplink("rack", "r0", LINK / 2), Uplink("rack", "r1", LINK)),
)


def job(roads: Roads, number: int, source: int, target: int, seconds: float, dirty: float = 0.0) -> Job:
    guest = FleetGuest(f"g{number}", Amounts(1, 1), dirty_bytes_per_s=dirty)
    return roads.job(guest, f"h{source}", f"h{target}", Outlook(seconds + FIXED_S, 0.1, 1), Basis())


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Roads, list[Job]]:
    slots = Slots(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 4))
    )
    roads = Roads(FLEET, slots)
    found = []
    for number in range(draw(st.integers(1, 14))):
        source = draw(st.integers(0, 5))
        target = (source + draw(st.integers(1, 5))) % 6
        found.append(
            job(
                roads,
                number,
                source,
                target,
                draw(st.integers(0, 20)),
                draw(st.sampled_from([0, 0, 4e8, 3e9])),
            )
        )
    return roads, found


@given(jobs())
@settings(deadline=None, max_examples=examples(200))
def test_all_end_within_their_slots_and_no_link_carries_more_than_it_can(
    case: tuple[Roads, list[Job]],
) -> None:
    roads, waiting = case
    spans = timetable.schedule(waiting, roads)
    assert len(spans) == len(waiting)
    end_s = max(span.ends_s for span in spans)
    assert end_s >= timetable.least_s(waiting, roads) * 0.999999
    carried: Counter[timetable.Link] = Counter()
    for each, span in zip(waiting, spans, strict=True):
        slowest = min(roads.speed(link) for link in each.links)
        assert span.ends_s - span.begins_s >= (each.work_bytes / slowest + each.fixed_s) * 0.999999
        for link in each.links:
            carried[link] += int(each.work_bytes)
    for link, bytes_ in carried.items():
        assert bytes_ <= roads.speed(link) * end_s * 1.000001
        for span in spans:
            together = sum(
                other.begins_s <= span.begins_s < other.ends_s - 1e-9
                for each, other in zip(waiting, spans, strict=True)
                if link in each.links
            )
            assert together <= roads.most(link)


def test_a_guest_that_does_not_converge_keeps_nobody_waiting() -> None:
    links: tuple[timetable.Link, ...] = (("out", "", "h1"), ("in", "", "h2"))
    hosts = tuple(FleetHost(name, 64 << 30, 8, link_bytes_per_s=10**8) for name in ("h1", "h2"))
    roads = Roads(Fleet(hosts, ()), Slots())
    wild, busy, calm = (
        Job(name, "h1", "h2", links, 1e9, 0.1, rate)
        for name, rate in (("wild", 2e8), ("busy", 9e7), ("calm", 1e5))
    )
    assert timetable.admit([calm], [wild], roads) == (calm,)
    assert timetable.admit([calm], [busy], roads) == ()
    assert timetable.admit([wild], [calm], roads) == ()


@given(jobs())
@settings(deadline=None, max_examples=examples(150))
def test_admission_never_crowds_a_link_and_never_stands_still(case: tuple[Roads, list[Job]]) -> None:
    roads, waiting = case
    running: list[Job] = []
    while waiting or running:
        begun = timetable.admit(waiting, running, roads)
        assert begun or running, "nothing runs and nothing begins"
        waiting = [each for each in waiting if each not in begun]
        running += begun
        for link in {link for each in running for link in each.links}:
            on_it = [each for each in running if link in each.links]
            assert len(on_it) <= roads.most(link)
            part = roads.speed(link) / len(on_it)
            converge = [
                each.dirty_bytes_per_s for each in on_it if each.dirty_bytes_per_s < roads.speed(link)
            ]
            assert len(on_it) == 1 or max(converge, default=0.0) <= CALM_SHARE * part
        running.pop(0)


def test_two_share_a_link_and_the_shorter_leaves_it_to_the_longer() -> None:
    roads = Roads(FLEET, Slots())
    spans = timetable.schedule([job(roads, 0, 2, 3, 2.0), job(roads, 1, 2, 4, 4.0)], roads)
    assert [round(span.ends_s - FIXED_S, 6) for span in spans] == [4.0, 6.0]


def test_a_racks_uplink_is_shared_by_all_that_leave_it() -> None:
    roads = Roads(FLEET, Slots())
    inside = timetable.schedule([job(roads, 0, 0, 1, 2.0)], roads)[0]
    outward = timetable.schedule([job(roads, 0, 0, 2, 2.0), job(roads, 1, 1, 3, 2.0)], roads)
    assert inside.ends_s == pytest.approx(2.0 + FIXED_S)
    assert [span.ends_s for span in outward] == [pytest.approx(8.0 + FIXED_S)] * 2
