"""The fabric is cut in each stage, and mended or not: nobody runs twice, and before the release nobody waits."""

from __future__ import annotations

import pytest

from segue.errors import Kind, Refused
from tests.lab.moves import Move, wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow
BANDWIDTH = 12 << 20
NARROW = 3 << 20
"""The guest writes more than a quarter of it: its copy may throttle it."""
STUCK_S = 16.0
"""QEMU's timer of the throttle fires every 5 s, and reads the bitmap when nobody did since it fired last."""
OUTLIVED_S = 8.0
NEVER_MET_S = 0.005


def swallowed(scene: Scene) -> int:
    return sum(cut.frames for cut in scene.lab.status().cuts)


def cut_at(scene: Scene, side: str, place: str, **limits: float) -> Move:
    """A migration whose hosts do not hear each other from that place on."""
    source, target = scene.route()
    halt = scene.halt(source if side == "source" else target, place)
    move = scene.migrate(target, **limits)
    halt.wait()
    scene.lab.cut(f"{source}--{target}")
    halt.go()
    return move


def demand_untouched(scene: Scene, move: Move, lived_s: float) -> None:
    """Back at the source while the cut lasts; once it is mended nothing is left, and a second try works."""
    wait_until(scene.client.answered, "the guest answers")
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    scene.demand_one()
    scene.lab.mend()
    scene.demand_calm()
    assert scene.owner() == move.source
    scene.migrate(move.target).end("done")
    scene.demand_calm()


def demand_doubt(scene: Scene, move: Move) -> None:
    """People are told where the guest may be, and what to do."""
    move.until("doubt", lambda record: record["failure"] is not None)
    failure = move.record()["failure"]
    assert failure["consequence"] == "in_doubt"
    assert move.target in failure["why"]
    assert f"segue vm recover {GUEST} --fenced {move.target}" in failure["todo"]
    watched = scene.segue("migration", "watch", move.number)
    assert watched.returncode == 9, watched.stderr
    with pytest.raises(Refused, match="before its handoff"):
        move.cancel()


def test_a_target_that_cannot_be_reached_is_refused(scene: Scene) -> None:
    source, target = scene.route()
    scene.lab.cut(f"{source}--{target}")
    with pytest.raises(Refused, match=f"{target} cannot be reached") as refused:
        scene.migrate(target)
    assert refused.value.kind is Kind.UNREACHABLE
    scene.lab.mend()
    scene.demand_calm()


@slow
def test_a_guest_that_could_be_throttled_outlives_its_broken_copy(scene: Scene) -> None:
    source, target = scene.route()
    limits = {"bandwidth_bytes_per_s": NARROW, "stall_s": STUCK_S, "blackout_s": NEVER_MET_S}
    move = scene.migrate(target, **limits)
    while not move.record()["shape"]["throttle"]:  # The guest wrote little while it was measured.
        move.cancel()
        move.end("aborted")
        move = scene.migrate(target, **limits)
    move.until("looked at again", lambda record: record["progress"]["round"] > 2)
    scene.lab.cut(f"{source}--{target}")
    move.end("aborted")
    lived_s = scene.client.uptime_s()
    wait_until(lambda: scene.client.uptime_s() > lived_s + OUTLIVED_S, "the guest lives on")
    demand_untouched(scene, move, lived_s)


@slow
def test_cut_while_memory_is_copied_and_mended(scene: Scene) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    move = scene.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, stall_s=30.0)
    move.until("memory on its way", lambda record: record["progress"]["transferred_bytes"] > 0)
    scene.lab.cut(f"{source}--{target}")
    wait_until(lambda: swallowed(scene) > 3, "frames are lost")
    scene.lab.mend()
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == target
    assert scene.client.uptime_s() > lived_s


@slow
def test_cut_while_memory_is_copied_for_good(scene: Scene) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    move = scene.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, stall_s=2.0)
    move.until("memory on its way", lambda record: record["progress"]["transferred_bytes"] > 0)
    scene.lab.cut(f"{source}--{target}")
    failure = move.end("aborted")["failure"]
    assert "nothing arrived at the target for 2 s" in failure["why"]
    demand_untouched(scene, move, lived_s)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("begun reserve target", marks=slow),
        pytest.param("begun join networks", marks=slow),
        pytest.param("begun copy memory", marks=slow),
        pytest.param("begun hand off", marks=slow),
    ],
)
def test_cut_before_the_release_for_good(scene: Scene, place: str) -> None:
    """The source turns back by itself, and the guest goes on before anything is mended."""
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "source", place, blackout_s=1.0)
    assert move.end("aborted")["failure"]["consequence"] == "aborted"
    demand_untouched(scene, move, lived_s)


def test_cut_in_the_blackout_and_mended(scene: Scene) -> None:
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "source", "begun hand off", blackout_s=30.0)
    wait_until(lambda: swallowed(scene) > 3, "frames are lost")
    scene.lab.mend()
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


def test_cut_after_the_release_and_mended(scene: Scene) -> None:
    """The guest stands still, and everybody who asks is told; the mended link is all that it needs."""
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "source", "after released")
    demand_doubt(scene, move)
    assert not scene.client.answered()
    scene.lab.mend()
    assert move.end("done")["failure"] is None
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


@slow
def test_a_host_cut_off_altogether_after_the_release_and_mended(scene: Scene) -> None:
    source, target = scene.route()
    halt = scene.halt(source, "after released")
    move = scene.migrate(target)
    halt.wait()
    scene.lab.cut(target)
    halt.go()
    demand_doubt(scene, move)
    scene.lab.mend()
    assert move.end("done")["failure"] is None
    scene.demand_calm()
    assert scene.owner() == target


@slow
def test_cut_when_the_target_has_taken_over(scene: Scene) -> None:
    """Clients are served there at once; only the source does not know yet."""
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "target", "after owner")
    wait_until(scene.client.answered, "the guest answers on the target")
    assert scene.client.uptime_s() > lived_s
    demand_doubt(scene, move)
    assert scene.client.answered()
    scene.demand_one()
    scene.lab.mend()
    assert move.end("done")["failure"] is None
    scene.demand_calm()
    assert scene.owner() == move.target


@slow
def test_cut_while_the_source_settles_and_mended(scene: Scene) -> None:
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "source", "begun forward late frames")
    move.until_step("hear of the guest's clock")
    wait_until(lambda: swallowed(scene) > 3, "frames are lost")
    assert scene.client.answered(within_s=5.0)
    assert move.record()["stage"] == "post_blackout"
    scene.lab.mend()
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


@slow
def test_cut_after_the_release_for_good_and_the_target_is_fenced(scene: Scene) -> None:
    """The operator takes the target's power and says so; the guest starts from its disk, and never twice."""
    lived_s = scene.client.uptime_s()
    move = cut_at(scene, "source", "after released")
    demand_doubt(scene, move)
    scene.lab.kill(move.target)
    recovered = scene.segue("vm", "recover", GUEST, "--fenced", move.target, "--host", move.source, "--yes")
    assert recovered.returncode == 0, recovered.stderr
    record = move.end("lost")
    assert f"{move.target}" in record["failure"]["why"]
    shown = scene.shown(move.source)
    assert shown is not None
    assert (
        "without power" in shown["reason"]
    )  # Two say so, the migration and `recover`; the last one is shown.
    assert move.target in shown["reason"]
    assert f"segue vm start {GUEST}" in record["failure"]["todo"]
    scene.lab.mend()
    scene.start_guest(move.source)
    assert scene.client.uptime_s() < lived_s
    scene.power_on(move.target)
    scene.demand_calm()
    assert scene.owner() == move.source
    scene.migrate(move.target).end("done")
    scene.demand_calm()
