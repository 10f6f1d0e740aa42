"""The saga: each act fails, and the agent dies after each act; the guest always ends in one place, runnable."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from segue.engine import migrate
from segue.model.integrity import Verify
from segue.model.lifecycle import Stage
from segue.model.notice import Board, NoticeState, Subscription
from tests.engine.world import MEMORY_BYTES, Killed, Log, World

RESTARTS_MAX = 50


async def live(world: World) -> World:
    """Runs a migration to its end, starting the agent again whenever it died."""
    for _ in range(RESTARTS_MAX):
        run = world.run()
        try:
            await migrate.carry_out(migrate.runner(run, Log(world)), run)
        except Killed:
            world.dies_at = -1
            continue
        return world
    raise AssertionError("it never ends")


def check(world: World) -> None:
    """One copy runs, where the record says, and nothing is left of what was begun."""
    moved = world.record.stage is Stage.DONE
    assert world.runs == ({"target"} if moved else {"source"}), world.deeds
    assert world.record.stage in {Stage.DONE, Stage.ABORTED}
    assert not world.tunnel
    assert not world.steered
    assert not world.copying
    assert world.board.state is not NoticeState.PENDING
    assert world.target_told in ({"", NoticeState.ENDED} if moved else {""})
    assert world.target_copy is moved
    assert world.source_copy is not moved
    assert world.phase == ("absent" if moved else "owner")


async def deeds() -> list[str]:
    return (await live(World())).deeds


async def test_a_migration_goes_through_its_three_stages() -> None:
    world = await live(World())
    check(world)
    assert world.record.stage is Stage.DONE
    assert world.record.outcome.blackout_s == pytest.approx(0.01)
    order = [deed for deed in world.deeds if not deed.startswith(("mark", "round"))]
    assert order.index("place") < order.index("prepare network") < order.index("begin copy")
    assert order.index("steer") < order.index("stop") < order.index("rescue") < order.index("hand over")


@pytest.mark.parametrize("failing", ["", "drain", "stop", "completed", "hand over"])
async def test_others_stand_back_from_before_it_stands_until_it_runs_however_that_ends(failing: str) -> None:
    world = await live(World(fails={failing: 1}))
    check(world)
    order = world.deeds
    assert order.index("go first") < order.index("look")
    last = len(order) - order[::-1].index(failing or "hand over")
    assert "give way" in order[last - 1 :], "not before it runs there, or is given up"


async def test_the_agent_dies_after_each_act() -> None:
    for number in range(1, len(await deeds()) + 1):
        check(await live(World(dies_at=number)))


async def test_each_act_fails_once() -> None:
    for name in sorted({deed for deed in await deeds() if not deed.startswith("mark")}):
        world = await live(World(fails={name: 1}))
        check(world)


async def test_each_act_fails_once_and_then_the_agent_dies_anywhere() -> None:
    for name in sorted({deed for deed in await deeds() if not deed.startswith("mark")}):
        length = len((await live(World(fails={name: 1}))).deeds)
        for number in range(1, length + 1):
            check(await live(World(fails={name: 1}, dies_at=number)))


async def test_a_token_that_comes_back_undoes_everything() -> None:
    length = len((await live(World(returns=True))).deeds)
    for number in [0, *range(1, length + 1)]:
        world = await live(World(returns=True, dies_at=number))
        check(world)
        assert world.record.stage is Stage.ABORTED


async def test_after_the_handoff_a_failing_step_is_repeated_until_it_succeeds() -> None:
    world = await live(World(fails={"settled": 30, "retire": 5}))
    check(world)
    assert world.record.stage is Stage.DONE


async def test_a_guest_that_ended_is_lost_not_resurrected() -> None:
    world = World(fails={"round 1": 1})
    world.source_copy = False
    world.runs.clear()
    await live(world)
    assert world.record.stage is Stage.LOST
    assert not world.runs


async def cancelled_at(number: int) -> tuple[World, bool]:
    """Somebody cancels while act `number` is under way; the world at the end, and whether it was allowed."""
    world = World()
    run = world.run()
    runner = migrate.runner(run, Log(world))
    allowed: list[bool] = []
    real = world.deed

    def deed(name: str) -> None:
        real(name)
        if len(world.deeds) == number:
            allowed.append(runner.cancel())
            allowed.append(runner.cancel())  # Twice is no harm.

    world.deed = deed  # type: ignore[method-assign]
    await asyncio.create_task(migrate.carry_out(runner, run))
    return world, allowed[0] if allowed else False


async def test_it_can_be_cancelled_until_the_handoff_and_not_after() -> None:
    order = await deeds()
    for number in range(1, len(order) + 1):
        world, allowed = await cancelled_at(number)
        check(world)
        assert allowed is (number < order.index("mark begun hand off") + 1), order[number - 1]
        if allowed and number < order.index("mark done copy memory"):
            assert world.record.stage is Stage.ABORTED


@pytest.mark.parametrize("mode", [Verify.SAMPLE, Verify.FULL])
async def test_memory_that_differs_is_not_given_away(mode: Verify) -> None:
    world = World(corrupt_page=8192)
    world.record = replace(world.record, limits=replace(world.record.limits, verify=mode))
    await live(world)
    check(world)
    assert world.record.stage is Stage.ABORTED
    assert "hand over" not in world.deeds
    assert any("bytes 0x2000 to 0x2fff differ" in deed for deed in world.deeds)


async def test_what_was_compared_is_in_the_outcome() -> None:
    world = World()
    world.record = replace(world.record, limits=replace(world.record.limits, verify=Verify.FULL))
    await live(world)
    assert world.record.outcome.verification.verified_bytes == MEMORY_BYTES
    world = World(corrupt_page=8192)
    world.record = replace(world.record, limits=replace(world.record.limits, verify=Verify.OFF))
    await live(world)
    assert world.record.stage is Stage.DONE
    assert "digest" not in world.deeds


DB = Board(subscriptions=(Subscription("db", 30.0),))


async def test_a_guest_that_registered_is_waited_for_until_it_is_ready() -> None:
    world = await live(World(board=DB, ready_after=3))
    check(world)
    assert world.record.stage is Stage.DONE
    assert world.target_told == NoticeState.ENDED
    assert world.looks == 3
    assert world.waits[0] == "the guest's ready (db): 30 s left"
    order = world.deeds
    assert order.index("announce") < order.index("wait for ready") < order.index("begin copy")


async def test_a_guest_that_never_answers_is_moved_when_its_time_is_over() -> None:
    world = await live(World(board=DB))
    check(world)
    assert world.record.stage is Stage.DONE
    assert world.looks == 30


@pytest.mark.parametrize("set_back_s", [86400.0, -10.0])
async def test_a_wall_clock_that_is_set_does_not_make_it_wait_longer(set_back_s: float) -> None:
    world = await live(World(board=DB, set_back_s=set_back_s))
    check(world)
    assert world.record.stage is Stage.DONE
    assert world.looks <= 30


async def test_an_agent_that_dies_while_it_waits_gives_no_more_time() -> None:
    first = (await live(World(board=DB))).deeds.index("wait for ready")
    for number in range(first + 1, first + 31):
        world = await live(World(board=DB, dies_at=number))
        check(world)
        assert world.record.stage is Stage.DONE
        assert world.looks <= 31


async def test_a_cancelled_migration_is_cancelled_for_the_guest_too() -> None:
    world = World(board=DB, fails={"begin copy": 1})
    await live(world)
    check(world)
    assert world.board.state is NoticeState.CANCELLED


async def test_a_guest_that_was_taken_back_from_a_dead_target_frees_its_source() -> None:
    """Its target answers nobody; a fencing gives the guest back, and it starts here from its disks."""
    world = World(fails={"settled": 1000})
    real = world.deed

    def deed(name: str) -> None:
        if name == "settled" and world.phase == "released":
            world.phase, world.target_copy, world.runs = "owner", False, {"source"}
        real(name)

    world.deed = deed  # type: ignore[method-assign]
    await live(world)
    assert world.record.stage is Stage.LOST
    assert world.record.failure is not None
    assert world.record.failure.consequence == "lost"
    assert world.runs == {"source"}
    assert not world.tunnel, "frames of the guest would go to the dead"
