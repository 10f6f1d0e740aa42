"""Feed A of two is worked on with a reboot of each of its hosts, and every QEMU is replaced: no client notices.

The hosts begin with an older QEMU from Debian's archives; the upgrade is apt's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
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
FEEDS: Final = {"host1": "a", "host2": "a", "host3": "b", "host4": "b"}
GUESTS: Final = {"g1": "host1", "g2": "host1", "g3": "host2", "g4": "host3", "g5": "host3", "g6": "host4"}
MEMORY_BYTES: Final = 144 << 20
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


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    lab = Lab(f"mnt{os.getpid()}")
    lab.up(hosts=len(FEEDS), clients=1, controllers=1)
    try:
        lab.wait_for_services(60.0)
        with ExitStack() as stack:
            for host in FEEDS:
                stack.enter_context(archives(lab, host))
                done = lab.exec(host, ["sh", "-e", "-c", OLDER], timeout=200)
                if done.returncode == 70:
                    pytest.skip("Debian's archives have one QEMU only")
                assert done.returncode == 0, done.stdout + done.stderr
            yield lab
    finally:
        lab.down()


def segue(lab: Lab, *words: str, stdin: str = "") -> Any:
    done = lab.exec("client1", ["segue", *words], input=stdin, timeout=900)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr


def agent(lab: Lab, host: str) -> Host:
    return Host(host, f"unix://{lab.agent_socket(host)}")


def qemus(lab: Lab) -> dict[str, str]:
    """The version in which each guest runs."""
    shown = [guest for host in FEEDS for guest in agent(lab, host).call("GET", "/guests")]
    return {guest["name"]: guest["qemu"] for guest in shown if guest["state"] == "running"}


def watched(lab: Lab, addresses: dict[str, str]) -> list[Probe]:
    probes = [
        Probe(lab, "client1", kind, *words, wait=False)
        for address in addresses.values()
        for kind, words in (
            ("udp", (f"{address}:7000", "--rate", "20")),
            ("http", (f"http://{address}:8080/", "--interval", "200ms")),
        )
    ]
    for probe in probes:
        probe.wait_ready()
    return probes


def test_a_feed_is_worked_on_and_every_qemu_is_replaced(lab: Lab) -> None:
    addresses = {name: f"10.77.100.{number}" for number, name in enumerate(GUESTS, start=1)}
    wait_until(lambda: segue(lab, "status", "-o", "json")["hosts_up"] == len(FEEDS), "all are connected")
    for host, feed in FEEDS.items():
        segue(lab, "host", "label", host, f"feed={feed}")
        agent(lab, host).call("GET", "/inventory")  # From here on it knows which QEMU is installed.
    for name, host in GUESTS.items():
        wish = {
            "name": name,
            "image": "micro",
            "memory_bytes": MEMORY_BYTES,
            "address": f"{addresses[name]}/16",
        }
        agent(lab, host).call("POST", "/guests", wish)
    for address in addresses.values():
        client = Client(lab, address)
        wait_until(client.answered, "it answers", 120.0)
        client.close()
    before = qemus(lab)
    probes = watched(lab, addresses)
    for order in (FEED_A, FEED_B):
        name = order.split()[1]
        segue(lab, "maintenance", "plan", "-", stdin=order)
        print(segue(lab, "maintenance", "start", name))
    for probe in probes:
        probe.stop()
    accounts = [probe.account() for probe in probes]
    reports = [segue(lab, "maintenance", "report", name, "-o", "json") for name in ("feed-a", "feed-b")]
    _write(reports, accounts)
    for account in accounts:
        demand_whole(account)
    assert [report["state"] for report in reports] == ["done", "done"], reports
    after = qemus(lab)
    assert set(after) == set(before) == set(GUESTS)
    assert len({*before.values()}) == len({*after.values()}) == 1
    assert before != after
    outages = [[o for host in report["hosts"] for o in host["outages"]] for report in reports]
    assert {o["guest"] for o in outages[0]} == {"g1", "g2", "g3"}
    assert not any(FEEDS[o["target"]] == FEEDS[o["source"]] for o in outages[0]), "it stayed within its feed"
    assert {(o["guest"], o["source"] == o["target"]) for o in outages[1]} == {
        (g, True) for g in ("g4", "g5", "g6")
    }


def _write(reports: list[Any], accounts: list[Any]) -> None:
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
    }
    folder = Path("out")
    folder.mkdir(exist_ok=True)
    (folder / "maintenance.json").write_text(json.dumps(figures, indent=1, default=str))
