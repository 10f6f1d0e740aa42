"""A guest that runs before its memory: each act fails, the agent dies after each act, paths break, QEMUs die."""

from __future__ import annotations

import pytest

from segue.model.lifecycle import Stage
from segue.model.migration import Limits, Migration
from tests.engine.test_migrate import check, live
from tests.engine.world import World


def world(**more: object) -> World:
    """One in which the operator wants post-copy after the first round."""
    limits = Limits(post_copy_after=0)
    return World(record=Migration("m-000001", "web1", "source", "target", limits, 0.0), **more)  # type: ignore[arg-type]


def check_lost(found: World) -> None:
    """Nobody runs half a memory, nobody started it again, and nothing is left but the word that it is lost."""
    assert found.record.stage is Stage.LOST
    assert found.record.failure is not None
    assert found.record.failure.consequence == "lost"
    assert not found.runs
    assert not found.tunnel
    assert not found.source_copy
    assert not found.target_copy
    assert found.phase == "absent"


async def test_the_guest_runs_and_its_memory_follows() -> None:
    found = await live(world())
    check(found)
    assert found.record.stage is Stage.DONE
    order = [deed for deed in found.deeds if not deed.startswith(("mark", "round"))]
    assert order.index("arm") < order.index("stop") < order.index("completed")
    assert order.index("arrival") < order.index("hand over"), "given away before the target can run it"
    assert order.index("confirmed") < order.index("serve all") < order.index("serving")
    assert order.index("serving") < order.index("settled") < order.index("retire")
    assert found.pages == 0


async def test_the_agent_dies_after_each_act() -> None:
    for number in range(1, len((await live(world())).deeds) + 1):
        check(await live(world(dies_at=number)))


async def test_each_act_fails_once_and_then_the_agent_dies_anywhere() -> None:
    names = {deed for deed in (await live(world(cuts=1))).deeds if not deed.startswith("mark")}
    for name in sorted(names):
        length = len((await live(world(fails={name: 1}, cuts=1))).deeds)
        for number in range(length + 1):
            check(await live(world(fails={name: 1}, dies_at=number or -1, cuts=1)))


@pytest.mark.parametrize("cuts", [1, 2, 5])
async def test_a_broken_path_is_mended_each_time(cuts: int) -> None:
    length = len((await live(world(cuts=cuts))).deeds)
    for number in range(length + 1):
        found = await live(world(cuts=cuts, dies_at=number or -1))
        check(found)
        assert not found.cuts or found.record.stage is Stage.ABORTED


async def test_a_path_that_stays_broken_is_waited_for() -> None:
    found = await live(world(cuts=1, fails={"reopen": 20, "reconnect": 20}))
    check(found)
    assert found.record.stage is Stage.DONE
    assert found.record.outcome.path_breaks == 1


async def test_the_source_dies_and_the_guest_is_declared_lost() -> None:
    check_lost(await live(world(source_dies=True)))


async def test_the_source_dies_and_the_target_cannot_be_told_for_long() -> None:
    check_lost(await live(world(source_dies=True, fails={"memory lost": 30})))


async def test_the_agent_dies_anywhere_while_it_declares_a_guest_lost() -> None:
    length = len((await live(world(source_dies=True))).deeds)
    for number in range(1, length + 1):
        found = await live(world(source_dies=True, dies_at=number))
        check_lost(found) if found.record.stage is Stage.LOST else check(found)


async def test_the_target_dies_and_the_guest_is_not_brought_back_from_old_memory() -> None:
    length = len((await live(world(target_dies=True))).deeds)
    for number in range(length + 1):
        found = await live(world(target_dies=True, dies_at=number or -1))
        check_lost(found) if found.record.stage is Stage.LOST else check(found)


async def test_a_token_that_comes_back_revives_the_source() -> None:
    length = len((await live(world(returns=True))).deeds)
    for number in range(length + 1):
        found = await live(world(returns=True, dies_at=number or -1))
        check(found)
        assert found.record.stage is Stage.ABORTED
