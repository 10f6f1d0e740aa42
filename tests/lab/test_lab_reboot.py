"""A host of the lab reboots itself, as a real one does: the same disk, another boot, the cable plugged in again."""

from __future__ import annotations

import pytest

from segue.cli.fleet import Host
from segue.lab.api import Lab
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def boot(lab: Lab, host: str) -> str:
    return str(Host(host, f"unix://{lab.agent_socket(host)}").call("GET", "/inventory")["boot"])


def test_a_host_reboots_itself_and_is_back(lab: Lab) -> None:
    lab.wait_for_agents()
    before, other = boot(lab, "host1"), lab.host_pids("host2")[0]
    lab.exec("host1", ["sh", "-ec", "echo kept >/root/kept; echo gone >/run/gone"], check=True)
    lab.exec("host1", ["reboot"])
    wait_until(lambda: boot(lab, "host1") != before, "host1 is back")
    assert lab.exec("host1", ["cat", "/root/kept"], check=True).stdout == "kept\n"
    assert lab.exec("host1", ["test", "-e", "/run/gone"]).returncode == 1
    lab.exec("client1", ["ping", "-c1", "-W5", "host1"], check=True)
    assert lab.host_pids("host2")[0] == other


def test_a_host_that_is_switched_off_stays_off(lab: Lab) -> None:
    lab.kill("host1")
    assert lab.host_pids("host1") == []
    lab.start("host1")
    lab.wait_for_agents(["host1"])
