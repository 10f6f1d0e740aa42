"""Three hosts, one of them overloaded by guests that burn its processors: the balancer levels it under traffic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.client import Client
from tests.lab.moves import wait_until
from tests.lab.test_fleet_drain import GUESTS, HOSTS, MEMORY_BYTES, Fleet, addresses, probes
from tests.lab.traffic import demand_whole

pytestmark = pytest.mark.lab
BURNS: Final = "segue.dirty=4G/1M"
"""It writes the same MiB over and over, as fast as it can."""
BUSY_CORES: Final = 0.5
SEEN_S: Final = 150.0


@pytest.fixture(scope="module")
def fleet(labs_folder: object) -> Iterator[Fleet]:
    made = Lab(f"b{os.getpid()}")
    made.up(hosts=3, clients=1)
    made.wait_for_agents()
    try:
        yield Fleet(made)
    finally:
        made.down()


def wanted_cores(fleet: Fleet) -> dict[str, float]:
    """What each guest uses and waits for, as the leader was told."""
    hosts: list[dict[str, Any]] = fleet.segue("top", "--once", "-o", "json")
    every = [guest for host in hosts for guest in host["guests"]]
    return {g["name"]: sum(g["use"]["now"][key] for key in ("cpu_cores", "waiting_cores")) for g in every}


@pytest.mark.slow
def test_an_overloaded_host_is_levelled_under_traffic_and_nothing_is_lost(fleet: Fleet) -> None:
    agent = Host("host1", f"unix://{fleet.lab.agent_socket('host1')}")
    for name, address in zip(GUESTS, addresses(), strict=True):
        wish = {
            "name": name,
            "image": "micro",
            "memory_bytes": MEMORY_BYTES,
            "address": f"{address}/16",
            "cmdline": BURNS,
        }
        agent.call("POST", "/guests", wish)
    for address in addresses():
        client = Client(fleet.lab, address)
        wait_until(client.answered, f"{address} answers")
        client.close()

    def burning() -> bool:
        cores = wanted_cores(fleet)
        return len(cores) == len(GUESTS) and min(cores.values()) > BUSY_CORES

    wait_until(burning, "the load is seen", SEEN_S)
    watching = probes(fleet)
    task = fleet.segue("balance", "apply", "--max-blackout", "5s", "-o", "json")
    accounts = [probe.account() for probe in watching]
    assert task["state"] == "done", task
    assert len(task["moved"]) == 2, task
    on = Counter({host: len(fleet.names_on(host)) for host in HOSTS})
    assert on == dict.fromkeys(HOSTS, 1)
    for account in accounts:
        demand_whole(account)
    print(task["note"])
    booked = fleet.segue("balance", "status", "-o", "json")["bookings"]
    assert {move["guest"] for move in booked} == set(task["moved"])
    print(", ".join(f"{m['guest']}: {m['why']}; {m['blackout_s'] * 1e3:.0f} ms" for m in booked))
