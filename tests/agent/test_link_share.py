"""A copy gets a new share when another begins or ends."""

from __future__ import annotations

from segue.agent.link_share import LinkShare


class Copy:
    """Remembers its cap."""

    def __init__(self) -> None:
        self.rate = -1

    async def apply(self, rate: int) -> None:
        self.rate = rate


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


async def test_without_a_budget_nobody_is_touched() -> None:
    link, one = LinkShare(0), Copy()
    await link.join("a", 7, one.apply)
    assert (one.rate, link.foreseen(7)) == (-1, 7)
