"""Cancelling: possible until the handoff, and the guest runs on at the source; refused after it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from segue.errors import Kind, Refused
from tests.lab.moves import SLOW_BYTES_PER_S
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("begun reserve target", marks=slow),
        pytest.param("done reserve target"),
        pytest.param("begun join networks", marks=slow),
        pytest.param("begun copy memory", marks=slow),
    ],
)
def test_at_each_step_before_the_handoff(scene: Scene, place: str) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    halt = scene.halt(source, place)
    move = scene.migrate(target)
    halt.wait()
    # The agent stands still: the call waits in its socket, and is heard when the agent goes on.
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(move.cancel)
        halt.go()
        asked.result()
    record = move.end("aborted")
    assert record["failure"]["what"] == "the migration was cancelled"
    scene.demand_calm()
    assert scene.owner() == source
    assert scene.client.uptime_s() > lived_s


def test_while_memory_is_copied_and_a_second_try_works(scene: Scene) -> None:
    source, target = scene.route()
    move = scene.migrate(target, bandwidth_bytes_per_s=SLOW_BYTES_PER_S)
    move.until_step("copy memory")
    done = scene.segue("migration", "cancel", move.number[:8])
    assert done.returncode == 0, done.stderr
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == source
    scene.migrate(target).end("done")
    scene.demand_calm()
    assert scene.owner() == target


def test_after_the_handoff_it_is_refused(scene: Scene) -> None:
    _, target = scene.route()
    move = scene.migrate(target)
    move.until_step("forward late frames")
    with pytest.raises(Refused, match="before its handoff") as error:
        move.cancel()
    assert error.value.kind is Kind.CONFLICT
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == target


def test_a_migration_that_has_ended_or_never_was(scene: Scene) -> None:
    _, target = scene.route()
    move = scene.migrate(target)
    move.end("done")
    with pytest.raises(Refused):
        move.cancel()
    done = scene.segue("migration", "cancel", "nothing")
    assert done.returncode == 3
    assert GUEST not in done.stderr
