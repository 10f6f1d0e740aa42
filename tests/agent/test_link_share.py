"""A copy gets a new share when another begins or ends."""

from __future__ import annotations

import asyncio

from segue.adapters.qemu.settings import TRICKLE
from segue.agent.link_share import LinkShare


class Copy:
    """Remembers its cap."""

    def __init__(self) -> None:
        self.rate = -1
        self.told = asyncio.Event()

    async def apply(self, rate: int) -> None:
        self.rate = rate
        self.told.clear() if rate == TRICKLE else self.told.set()


async def test_two_copies_halve_the_link_and_the_last_has_it_alone() -> None:
    link, one, other = LinkShare(1000), Copy(), Copy()
    await link.join("a", 0, one.apply)
    assert (one.rate, link.foreseen(0)) == (1000, 500)
    await link.join("b", 0, other.apply)
    assert (one.rate, other.rate) == (500, 500)
    await link.leave("a")
    await link.leave("a")
    assert other.rate == 1000


async def test_a_capped_copy_leaves_its_rest_to_the_other() -> None:
    link, one, other = LinkShare(1000), Copy(), Copy()
    await link.join("a", 100, one.apply)
    await link.join("b", 0, other.apply)
    assert (one.rate, other.rate) == (100, 900)


async def test_without_a_budget_each_has_its_own_cap() -> None:
    link, one = LinkShare(0), Copy()
    await link.join("a", 7, one.apply)
    assert (one.rate, link.foreseen(7)) == (7, 7)


async def test_while_a_guest_stands_the_others_stand_back() -> None:
    link, one, other, late = LinkShare(0), Copy(), Copy(), Copy()
    await link.join("a", 0, one.apply)
    await link.join("b", 7, other.apply)
    await link.go_first("a")
    assert (one.rate, other.rate) == (0, TRICKLE)
    await link.join("c", 9, late.apply)
    assert late.rate == TRICKLE, "one that begins just then, too"
    link.give_way("a")
    link.give_way("a")
    await other.told.wait()
    await late.told.wait()
    assert (one.rate, other.rate, late.rate) == (0, 7, 9)


async def test_two_that_stand_at_once_both_go_first_and_one_that_ends_gives_way() -> None:
    link, one, other, third = LinkShare(1000), Copy(), Copy(), Copy()
    for name, copy in (("a", one), ("b", other), ("c", third)):
        await link.join(name, 0, copy.apply)
    await link.go_first("a")
    await link.go_first("b")
    assert (one.rate, other.rate, third.rate) == (333, 333, TRICKLE)
    await link.leave("a")
    assert (other.rate, third.rate) == (500, TRICKLE), "b still stands"
    await link.leave("b")
    assert third.rate == 1000


async def test_a_qemu_that_does_not_answer_holds_no_guest_up() -> None:
    link, one = LinkShare(0), Copy()
    await link.join("a", 0, one.apply)
    frozen = asyncio.Event()

    async def never(rate: int) -> None:
        await frozen.wait()

    await link.join("b", 0, never)
    async with asyncio.timeout(10):
        await link.go_first("a")
    frozen.set()


async def test_a_copy_that_could_not_be_told_is_told_again_with_the_next_change() -> None:
    link, other, told = LinkShare(0), Copy(), []

    async def deaf_at_first(rate: int) -> None:
        told.append(rate)
        if len(told) == 1:
            raise TimeoutError

    await link.join("a", 7, deaf_at_first)
    await link.join("b", 0, other.apply)
    assert told == [7, 7]
