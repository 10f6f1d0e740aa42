"""The saga of a guest with disks of its own: whatever fails, it never runs with a disk that lags behind."""

from __future__ import annotations

from dataclasses import replace

from segue.model.lifecycle import Stage
from segue.model.storage import DiskCopy, DiskFile, Layer
from tests.engine.test_migrate import check, live
from tests.engine.world import World

LAYER = Layer("/images/base.raw", "raw", 1, "d")
COPY = DiskCopy(DiskFile("disk0", "/disks/web1.qcow2", "qcow2", 1, 1, layers=(LAYER,)), missing=(LAYER,))


def with_disks(**more: object) -> World:
    world = World(**more)  # type: ignore[arg-type]
    world.record = replace(world.record, copies=(COPY,))
    return world


def check_disks(world: World) -> None:
    """Nothing is left of the mirrors; the old disks are put aside only where the guest has moved."""
    check(world)
    moved = world.record.stage is Stage.DONE
    assert not world.mirrors
    assert world.kept is moved
    assert world.target_disks is moved


async def deeds() -> list[str]:
    return (await live(with_disks())).deeds


async def test_disks_go_before_memory_and_are_equal_before_the_guest_is_given_away() -> None:
    world = await live(with_disks())
    check_disks(world)
    order = world.deeds
    assert order.index("layers sent") < order.index("place") < order.index("begin mirrors")
    assert order.index("tie") < order.index("stop") < order.index("cut") < order.index("close storage")
    assert order.index("close storage") < order.index("pass gate") < order.index("hand over")
    assert order.index("confirmed") < order.index("keep") < order.index("retire")


async def test_the_agent_dies_after_each_act() -> None:
    for number in range(1, len(await deeds()) + 1):
        check_disks(await live(with_disks(dies_at=number)))


async def test_each_act_fails_once_and_then_the_agent_dies_anywhere() -> None:
    for name in sorted({deed for deed in await deeds() if not deed.startswith("mark")}):
        length = len((await live(with_disks(fails={name: 1}))).deeds)
        for number in range(0, length + 1):
            check_disks(await live(with_disks(fails={name: 1}, dies_at=number)))


async def test_a_token_that_comes_back_undoes_everything() -> None:
    length = len((await live(with_disks(returns=True))).deeds)
    for number in [0, *range(1, length + 1)]:
        world = await live(with_disks(returns=True, dies_at=number))
        check_disks(world)
        assert world.record.stage is Stage.ABORTED
