"""The way of the disks' copy breaks: the guest, which writes to its disk all the time, never waits long for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.stage import Stage
from segue.lab import state
from tests.lab.moves import ENDS, Move, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
BANDWIDTH = 24 << 20
NOTICED = 100
"""Blocks; the guest writes some hundred in a second."""
AGENT_PORT = "7443"
RANGE = "49200-49207"
RESET = "counter reject with tcp reset"
SILENCE = "'tcp flags & (syn | ack) == syn' counter drop"


@pytest.fixture(scope="module")
def stage(labs_folder: Path) -> Iterator[Stage]:
    made = Stage(f"w{os.getpid()}")
    made.up()
    yield made
    made.down()


@contextmanager
def broken(stage: Stage, source: str, target: str, verdict: str, ports: str = AGENT_PORT) -> Iterator[None]:
    """The source's connections to the target, but for those to these ports."""
    address = state.need(stage.lab.places).node(target).address
    mend = stage.filter_out(source, f"ip daddr {address} tcp dport != '{{ {ports} }}' {verdict}")
    try:
        yield
    finally:
        mend()


@dataclass
class Halted:
    """A move whose source's agent stands still at a place."""

    source: str
    target: str
    move: Move
    before: dict[str, float]
    go: Callable[[], None]


def halted(stage: Stage, place: str, **limits: object) -> Halted:
    stage.begin()
    source, target = stage.route()
    before = stage.status()
    halt = stage.halt(source, place)
    move = stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, **limits)
    halt.wait()
    return Halted(source, target, move, before, halt.go)


def written(stage: Stage) -> int:
    return int(stage.status()["written"])


def demand_whole(stage: Stage, before: dict[str, float]) -> None:
    """Its disk and its memory are what it wrote, and nothing is left."""
    stage.demand_calm()
    found = stage.proofs(before, crashed=False)
    assert (found["corrupt_blocks"], found["wrong_pages"], found["write_errors"]) == (0, 0, 0), found


def demand_writes(stage: Stage, move: Move) -> None:
    """It goes on with its own disk while the move is still being given up."""
    begun = written(stage)
    wait_until(lambda: written(stage) > begun + NOTICED, "the guest writes on")
    record = move.record()
    assert record["stage"] not in ENDS
    assert not record["step"].startswith("undo"), "it had to wait until the move was given up"


def test_a_cut_while_both_copies_are_written_is_not_waited_for(stage: Stage) -> None:
    here = halted(stage, "done copy memory", blackout_s=0.3)
    mend = stage.cut("both ways", here.source, here.target)
    here.go()
    try:
        demand_writes(stage, here.move)
    finally:
        mend()
    here.move.end("aborted")
    demand_whole(stage, here.before)


def test_a_connection_that_is_reset_is_made_again_and_the_copy_goes_on(stage: Stage) -> None:
    here = halted(stage, "done mirror disks")
    with broken(stage, here.source, here.target, RESET):
        wait_until(lambda: stage.filtered(here.source), "one is reset")
    here.go()
    here.move.end("done")
    demand_whole(stage, here.before)


def test_a_port_that_a_firewall_swallows_is_found_before_the_guest_waits_for_it(stage: Stage) -> None:
    """QEMU connects with everything else standing: the guest stood for as long as TCP tried."""
    here = halted(stage, "done join networks")
    with broken(stage, here.source, here.target, SILENCE):
        here.go()
        demand_writes(stage, here.move)
        why = here.move.end("aborted")["failure"]["why"]
    assert "the target's storage at" in why
    demand_whole(stage, here.before)


@pytest.mark.parametrize("limits", [{}, {"post_copy_after": 0}, {"storage_postcopy": True}], ids=str)
def test_a_firewall_has_to_let_through_no_more_than_the_ports_that_are_named(
    stage: Stage, limits: dict[str, object]
) -> None:
    stage.begin()
    source, target = stage.route()
    change = f"sed -i '1i transfer_ports = \"{RANGE}\"' /etc/segue/agent.toml"
    with ExitStack() as both:
        for here, there in ((source, target), (target, source)):
            both.enter_context(stage.configured(here, change))
            both.enter_context(broken(stage, here, there, SILENCE, f"{AGENT_PORT}, {RANGE}"))
        before = stage.status()
        stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, **limits).end("done")
        for here in (source, target):
            assert not stage.filtered(here)
        demand_whole(stage, before)
