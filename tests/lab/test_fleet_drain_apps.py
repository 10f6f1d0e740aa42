"""A host with machines and an application is drained by a controller, and the application goes where its image is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.cli.fleet import Host
from segue.lab import places
from segue.lab.api import Lab
from tests.lab import witness
from tests.lab.app_census import AppCensus
from tests.lab.app_client import AppClient
from tests.lab.client import Client
from tests.lab.moves import wait_until
from tests.lab.test_fleet_drain import CONTEXT, MEMORY_BYTES, Fleet
from tests.lab.typed import segue

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(240)]
IMAGE: Final = "app-python"
APP: Final = "app1"
ADDRESS: Final = "10.77.100.9"
MACHINE: Final = "g1"
BESIDE: Final = "10.77.100.1"


@pytest.fixture(scope="module")
def fleet(labs_folder: object) -> Iterator[Fleet]:
    made = Lab(f"e{os.getpid()}")
    made.up(hosts=3, clients=1, images=("micro", IMAGE))
    made.wait_for_agents()
    try:
        yield Fleet(made)
    finally:
        made.down()


def test_machines_and_an_application_leave_under_traffic(fleet: Fleet) -> None:
    ticks = fleet.lab.places.shared / "ticks"
    ticks.mkdir()
    archive = str(places.cache() / "images" / IMAGE / "image.tar")
    segue(fleet.lab, "app", "load", archive, "--name", "witness", "--host", "host1", "--host", "host2")
    start = ("--name", APP, "--host", "host1", "--address", f"{ADDRESS}/16", "--user", "root")
    more = ("--memory", "128MiB", "--volume", "/srv/segue/shared/ticks:/ticks", "--restart", "always")
    program = Path(witness.__file__).read_text(encoding="utf-8")
    segue(fleet.lab, "app", "run", *start, *more, "witness", "-c", program, "16")
    agent = Host("host1", f"unix://{fleet.lab.agent_socket('host1')}")
    wish = {"name": MACHINE, "image": "micro", "memory_bytes": MEMORY_BYTES, "address": f"{BESIDE}/16"}
    agent.call("POST", "/guests", wish)
    machine, app = Client(fleet.lab, BESIDE), AppClient(fleet.lab, ADDRESS)
    census = AppCensus(fleet.lab, ("host1", "host2", "host3"), APP, ticks / "ticks")
    wait_until(machine.answered, "the machine answers")
    wait_until(app.answered, "the application answers")
    wait_until(lambda: fleet.status()["guests"] == 2, "both are reported")
    life = app.life()

    task = fleet.segue("host", "drain", "host1", "--max-blackout", "5s", "--parallel", "2", "-o", "json")
    assert task["state"] == "done", task
    assert sorted(task["moved"]) == [APP, MACHINE]
    assert fleet.names_on("host1") == []
    assert APP in fleet.names_on("host2"), "host3 does not have its image"
    assert app.answered(within_s=10.0)
    assert machine.answered(within_s=10.0)
    assert app.life() == life
    assert app.breaks == 0
    app.demand_right_memory()
    assert census.overlaps() == []

    fleet.segue("host", "uncordon", "host1")
    to_host3 = ["env", f"SEGUE_CONTEXT={CONTEXT}", "segue", "migrate", APP, "--to", "host3"]
    refused = fleet.lab.exec("client1", to_host3)
    assert "image" in refused.stdout + refused.stderr
    for copy in census.on("host2"):
        os.kill(copy.pid, signal.SIGKILL)
    wait_until(lambda: app.answered() and app.life() != life, "it is started again where it was")
    assert APP in fleet.names_on("host2")
    listed = ("incident", "list", "--guest", APP, "-o", "json")
    wait_until(lambda: fleet.segue(*listed), "its end is an incident")
    app.close()
    machine.close()
