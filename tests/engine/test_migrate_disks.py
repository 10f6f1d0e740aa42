"""The saga of a guest with disks of its own: whatever fails, it never runs with a disk that lags behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segue.model.integrity import Verify
from segue.model.lifecycle import Stage
from segue.model.migration import Limits
from segue.model.storage import DiskCopy, DiskFile, Layer
from tests.engine.test_migrate import check, live
from tests.engine.world import World

LAYER = Layer("/images/base.raw", "raw", 1, "d")
COPY = DiskCopy(DiskFile("disk0", "/disks/web1.qcow2", "qcow2", 1, 1, layers=(LAYER,)), missing=(LAYER,))


def with_disks(later: str = "", **more: object) -> World:
    """later: what of it the guest runs on the target without."""
    world = World(**more)  # type: ignore[arg-type]
    limits = Limits(storage_postcopy="disks" in later, post_copy_after=0 if "memory" in later else -1)
    world.record = replace(world.record, copies=(COPY,), limits=limits)
    return world


def check_disks(world: World) -> None:
    """Nothing is left of the mirrors; the old disks are put aside only where the guest has moved."""
    check(world)
    moved = world.record.stage is Stage.DONE
    assert not world.mirrors
    assert world.kept is moved
    assert world.target_disks is moved


all_ways = pytest.mark.parametrize("later", ["", "memory", "disks", "disks and memory"])


async def deeds(later: str) -> list[str]:
    return (await live(with_disks(later))).deeds


async def test_disks_go_before_memory_and_are_equal_before_the_guest_is_given_away() -> None:
    world = await live(with_disks())
    check_disks(world)
    order = world.deeds
    assert order.index("layers sent") < order.index("place") < order.index("begin mirrors")
    assert order.index("tie") < order.index("stop") < order.index("cut") < order.index("close storage")
    assert order.index("cut") < order.index("pass gate")
    assert order.index("close storage") < order.index("hand over")
    assert order.index("confirmed") < order.index("keep") < order.index("retire")


async def test_a_write_that_waits_for_a_dead_target_does_not_keep_the_guest_standing() -> None:
    """It did: for half a minute, until the guest's stop was waited for no longer."""
    world = with_disks(write_hangs=True)
    world.record = replace(world.record, limits=replace(world.record.limits, blackout_s=0.02))
    check_disks(await live(world))
    assert world.record.failure is not None
    assert "did not let it stand within" in world.record.failure.what


async def test_mirrors_that_lost_the_target_for_a_while_are_made_equal_before_the_guest_stands() -> None:
    world = with_disks(lost_looks=3)
    check_disks(await live(world))
    assert world.record.stage is Stage.DONE
    assert world.deeds.count("mirror progress") > 3
    assert world.deeds.count("tie") == 1


async def test_mirrors_that_have_lost_the_target_for_good_are_given_up_while_the_guest_runs() -> None:
    world = with_disks(lost_looks=100)
    check_disks(await live(world))
    assert world.record.failure is not None
    assert "nothing of its disks arrived" in world.record.failure.what
    assert "stop" not in world.deeds


async def test_lent_disks_are_pulled_before_the_source_goes() -> None:
    world = await live(with_disks("disks"))
    check_disks(world)
    order = world.deeds
    assert order.index("offer") < order.index("place") < order.index("stop") < order.index("completed")
    assert order.index("completed") < order.index("lend") < order.index("hand over")
    assert order.index("confirmed") < order.index("pulled") < order.index("keep") < order.index("retire")


async def test_memory_may_follow_over_disks_that_are_equal() -> None:
    world = await live(with_disks("memory"))
    check_disks(world)
    order = world.deeds
    assert order.index("tie") < order.index("arm") < order.index("stop") < order.index("pass gate")
    assert order.index("close storage") < order.index("hand over") < order.index("serve all")
    assert order.index("serve all") < order.index("keep")


@all_ways
async def test_the_agent_dies_after_each_act(later: str) -> None:
    for number in range(1, len(await deeds(later)) + 1):
        check_disks(await live(with_disks(later, dies_at=number)))


@all_ways
async def test_each_act_fails_once_and_then_the_agent_dies_anywhere(later: str) -> None:
    for name in sorted({deed for deed in await deeds(later) if not deed.startswith("mark")}):
        length = len((await live(with_disks(later, fails={name: 1}))).deeds)
        for number in range(0, length + 1):
            check_disks(await live(with_disks(later, fails={name: 1}, dies_at=number)))


@all_ways
async def test_a_token_that_comes_back_undoes_everything(later: str) -> None:
    length = len((await live(with_disks(later, returns=True))).deeds)
    for number in [0, *range(1, length + 1)]:
        world = await live(with_disks(later, returns=True, dies_at=number))
        check_disks(world)
        assert world.record.stage is Stage.ABORTED


async def test_a_disk_that_is_not_equal_keeps_the_guest_at_its_source() -> None:
    world = with_disks(corrupt_disk=True)
    world.record = replace(world.record, limits=Limits(verify=Verify.FULL))
    await live(world)
    check_disks(world)
    assert world.record.stage is Stage.ABORTED
    assert world.record.failure is not None
    assert "its disk /disks/web1.qcow2 on target is not what it is on source" in world.record.failure.what
    assert world.runs == {"source"}


async def test_disks_are_compared_when_both_sides_have_let_go_of_them() -> None:
    world = with_disks()
    world.record = replace(world.record, limits=Limits(verify=Verify.FULL))
    order = (await live(world)).deeds
    assert order.index("close storage") < order.index("completed") < order.index("digest disks")
    assert order.index("digest disks there") < order.index("hand over")
    assert world.record.outcome.verification.disk_bytes == COPY.disk.size_bytes
