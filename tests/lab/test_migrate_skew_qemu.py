"""From Debian 13's QEMU to the newest of Debian and back under traffic; what QEMU does not load is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.errors import Kind, SegueError
from segue.lab.variants import Variants
from tests.lab.moves import wait_until
from tests.lab.scene import GUEST, MEMORY_BYTES, Scene

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1200)]
ROUND_TRIPS = 3


@pytest.fixture(scope="module")
def skewed(labs_folder: Path) -> Iterator[Scene]:
    """The guest begins on host1, which has the newest QEMU; the other two have Debian 13's."""
    made = Scene(f"q{os.getpid()}", Variants(qemus={"host1": "newest"}))
    made.up()
    yield made
    made.down()


def moved(scene: Scene, to: str) -> dict[str, Any]:
    """The record of a move as a client sees it that sends 1,000 packets per second."""
    words = ("--to", to, "--probe", "udp:7000", "--max-blackout", "5s", "-o", "json")
    record: dict[str, Any] = json.loads(scene.run("client1", "segue", "migrate", GUEST, *words))
    return record


def test_to_the_older_qemu_and_back_without_a_lost_packet(skewed: Scene) -> None:
    here, there = (skewed.call(host, "GET", "/host")["qemu_version"] for host in ("host1", "host2"))
    assert int(here.split(".")[0]) > int(there.split(".")[0]) == 10
    skewed.begin()
    for target in ("host2", "host1") * ROUND_TRIPS:
        record = moved(skewed, target)
        (seen,) = record["observations"]
        assert record["stage"] == "done"
        assert (seen["lost"], seen["duplicated"]) == (0, 0)
    skewed.demand_calm()


def test_queues_that_the_newer_qemu_does_not_load_are_refused_before_anything_is_begun(skewed: Scene) -> None:
    wish = {"name": "old1", "image": "micro", "memory_bytes": MEMORY_BYTES}
    skewed.call("host2", "POST", "/guests", wish)
    with pytest.raises(SegueError, match="does not take in queues as large") as refused:
        skewed.call("host2", "POST", "/guests/old1/migrations", {"to": "host1"})
    assert refused.value.kind is Kind.POLICY
    (shown,) = [guest for guest in skewed.call("host2", "GET", "/guests") if guest["name"] == "old1"]
    assert (shown["state"], shown["migration"]) == ("running", "")
    number = skewed.call("host2", "POST", "/guests/old1/migrations", {"to": "host3"})["id"]
    wait_until(lambda: skewed.call("host2", "GET", f"/migrations/{number}")["stage"] == "done", "it moves")
    skewed.call("host3", "POST", "/guests/old1/stop", {"within_s": 0.1})
    skewed.call("host3", "DELETE", "/guests/old1")
