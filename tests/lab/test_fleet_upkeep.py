"""Feed A of two is worked on with a reboot of each of its hosts, and every QEMU is replaced: no client notices.

The hosts begin with an older QEMU from Debian's archives; the upgrade is apt's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.client import Client
from tests.lab.moves import wait_until
from tests.lab.relay import archives
from tests.lab.traffic import Probe, demand_whole

pytestmark = [pytest.mark.lab, pytest.mark.slow]
SIZES: Final = {"four": (4, 6, 144), "six": (6, 20, 128)}
"""Hosts on two feeds, guests on all of them, and MiB of each guest. Six and twenty are what was promised."""
OLDER: Final = """
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
v=$(apt-cache madison qemu-system-x86 | awk '{print $3}' | sort -V | head -n 1)
[ "$v" != "$(dpkg-query -W -f '${Version}' qemu-system-x86)" ] || exit 70
apt-get -q -y --allow-downgrades install qemu-system-x86=$v qemu-system-common=$v qemu-system-data=$v qemu-utils=$v
"""
FEED_A: Final = """
name: feed-a
title: a new UPS on feed A
scope: {domain: feed=a}
strategy: {max_blackout: 5s, at_once: 1}
procedure:
  - cordon
  - drain
  - run: |
      export DEBIAN_FRONTEND=noninteractive
      apt-get -q update
      apt-get -q -y --only-upgrade install qemu-system-x86 qemu-system-common qemu-system-data qemu-utils
    name: qemu
    within: 3m
  - reboot: {within: 2m}
  - health: {within: 2m}
  - verify
  - uncordon
  - return
"""
FEED_B: Final = """
name: feed-b
scope: {domain: feed=b}
strategy: {max_blackout: 5s}
procedure: qemu-upgrade
"""


class Fleet:
    """One size of it."""

    def __init__(self, size: str) -> None:
        hosts, guests, mib = SIZES[size]
        self.size = size
        self.lab = Lab(f"mnt{os.getpid()}")
        self.feeds = {f"host{n + 1}": "a" if n < hosts // 2 else "b" for n in range(hosts)}
        names = list(self.feeds)
        self.guests = {f"g{n + 1}": names[n * hosts // guests] for n in range(guests)}
        self.memory_bytes = mib << 20

    def on(self, feed: str) -> set[str]:
        return {guest for guest, host in self.guests.items() if self.feeds[host] == feed}


@pytest.fixture(scope="module", params=list(SIZES))
def fleet(labs_folder: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    made = Fleet(request.param)
    lab = made.lab
    lab.up(hosts=len(made.feeds), clients=1, controllers=1)
    try:
        lab.wait_for_services(60.0)
        with ExitStack() as stack:
            for host in made.feeds:
                stack.enter_context(archives(lab, host))
            with ThreadPoolExecutor(3) as pool:
                ends = list(
                    pool.map(lambda host: lab.exec(host, ["sh", "-e", "-c", OLDER], timeout=600), made.feeds)
                )
            if any(done.returncode == 70 for done in ends):
                pytest.skip("Debian's archives have one QEMU only")
            assert not any(done.returncode for done in ends), [done.stdout + done.stderr for done in ends]
            yield made
    finally:
        lab.down()


def segue(lab: Lab, *words: str, stdin: str = "") -> Any:
    done = lab.exec("client1", ["segue", *words], input=stdin, timeout=1800)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr


def agent(lab: Lab, host: str) -> Host:
    return Host(host, f"unix://{lab.agent_socket(host)}")


def qemus(fleet: Fleet) -> dict[str, str]:
    """The version in which each guest runs."""
    shown = [guest for host in fleet.feeds for guest in agent(fleet.lab, host).call("GET", "/guests")]
    return {guest["name"]: guest["qemu"] for guest in shown if guest["state"] == "running"}


def watched(lab: Lab, addresses: dict[str, str]) -> list[Probe]:
    probes = [
        Probe(lab, "client1", kind, *words, wait=False)
        for address in addresses.values()
        for kind, words in (
            ("udp", (f"{address}:7000", "--rate", str(120 // len(addresses)))),
            ("http", (f"http://{address}:8080/", "--interval", f"{33 * len(addresses)}ms")),
        )
    ]
    for probe in probes:
        probe.wait_ready()
    return probes


@pytest.mark.timeout(2700)
def test_a_feed_is_worked_on_and_every_qemu_is_replaced(fleet: Fleet) -> None:
    lab, begun_s = fleet.lab, time.monotonic()
    addresses = {name: f"10.77.100.{number}" for number, name in enumerate(fleet.guests, start=1)}
    wait_until(
        lambda: segue(lab, "status", "-o", "json")["hosts_up"] == len(fleet.feeds), "all are connected"
    )
    for host, feed in fleet.feeds.items():
        segue(lab, "host", "label", host, f"feed={feed}")
        agent(lab, host).call("GET", "/inventory")  # From here on it knows which QEMU is installed.
    for name, host in fleet.guests.items():
        wish = {
            "name": name,
            "image": "micro",
            "memory_bytes": fleet.memory_bytes,
            "address": f"{addresses[name]}/16",
        }
        agent(lab, host).call("POST", "/guests", wish)
    for address in addresses.values():
        client = Client(lab, address)
        wait_until(client.answered, "it answers", 120.0)
        client.close()
    before = qemus(fleet)
    probes = watched(lab, addresses)
    for order in (FEED_A, FEED_B):
        name = order.split()[1]
        segue(lab, "maintenance", "plan", "-", stdin=order)
        print(segue(lab, "maintenance", "start", name))
    for probe in probes:
        probe.stop()
    accounts = [probe.account() for probe in probes]
    reports = [segue(lab, "maintenance", "report", name, "-o", "json") for name in ("feed-a", "feed-b")]
    print(f"{fleet.size} hosts, {len(fleet.guests)} guests: {time.monotonic() - begun_s:.0f} s")
    _write(fleet, reports, accounts)
    for account in accounts:
        demand_whole(account)
    assert [report["state"] for report in reports] == ["done", "done"], reports
    after = qemus(fleet)
    assert set(after) == set(before) == set(fleet.guests)
    assert len({*before.values()}) == len({*after.values()}) == 1
    assert before != after
    outages = [[o for host in report["hosts"] for o in host["outages"]] for report in reports]
    assert {o["guest"] for o in outages[0]} == fleet.on("a")
    inside = [o for o in outages[0] if fleet.feeds[o["target"]] == fleet.feeds[o["source"]]]
    assert not inside, "it stayed within its feed"
    assert {(o["guest"], o["source"] == o["target"]) for o in outages[1]} == {
        (g, True) for g in fleet.on("b")
    }


def _write(fleet: Fleet, reports: list[Any], accounts: list[Any]) -> None:
    """For the figures of the maintenance's own page."""
    blackouts = [o["blackout_s"] for r in reports for host in r["hosts"] for o in host["outages"]]
    figures = {
        "reports": reports,
        "accounts": accounts,
        "verdicts": [
            {
                "name": name,
                "target": 0,
                "value": value,
                "unit": unit,
                "holds": value == 0,
            }
            for name, value, unit in (
                ("lost packets", sum(a["lost"] for a in accounts), "packets"),
                ("failed requests", sum(a["failed"] for a in accounts), "requests"),
            )
        ],
        "blackouts_s": blackouts,
        "hosts": len(fleet.feeds),
        "guests": len(fleet.guests),
    }
    folder = Path("out")
    folder.mkdir(exist_ok=True)
    (folder / f"maintenance-{fleet.size}.json").write_text(json.dumps(figures, indent=1, default=str))
