"""The way of the disks' copy breaks: the guest, which writes to its disk all the time, never waits long for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
BREAK = (
    "nft add table ip broken; "
    "nft add chain ip broken out '{{ type filter hook output priority 0; }}'; "
    "nft add rule ip broken out ip daddr {address} tcp dport != '{{ {ports} }}' {verdict}"
)
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
    stage.run(source, "sh", "-ec", BREAK.format(address=address, ports=ports, verdict=verdict))
    try:
        yield
    finally:
        stage.run(source, "nft", "delete", "table", "ip", "broken")


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
    stage.begin()
    source, target = stage.route()
    before = stage.status()
    halt = stage.halt(source, "done copy memory")
    move = stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, blackout_s=0.3)
    halt.wait()
    mend = stage.cut("both ways", source, target)
    halt.go()
    try:
        demand_writes(stage, move)
    finally:
        mend()
    move.end("aborted")
    demand_whole(stage, before)


def test_a_connection_that_is_reset_is_made_again_and_the_copy_goes_on(stage: Stage) -> None:
    stage.begin()
    source, target = stage.route()
    before = stage.status()
    halt = stage.halt(source, "done mirror disks")
    move = stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH)
    halt.wait()
    with broken(stage, source, target, RESET):
        wait_until(
            lambda: "packets 0 " not in stage.run(source, "nft", "list", "table", "ip", "broken"),
            "one is reset",
        )
    halt.go()
    move.end("done")
    demand_whole(stage, before)


def test_a_port_that_a_firewall_swallows_is_found_before_the_guest_waits_for_it(stage: Stage) -> None:
    """QEMU connects with everything else standing: the guest stood for as long as TCP tried."""
    stage.begin()
    source, target = stage.route()
    before = stage.status()
    halt = stage.halt(source, "done join networks")
    move = stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH)
    halt.wait()
    with broken(stage, source, target, SILENCE):
        halt.go()
        demand_writes(stage, move)
        why = move.end("aborted")["failure"]["why"]
    assert "the target's storage at" in why
    demand_whole(stage, before)


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
            assert "packets 0 " in stage.run(here, "nft", "list", "table", "ip", "broken")
        demand_whole(stage, before)
