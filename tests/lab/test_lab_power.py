"""`kill` is a power loss and `start` a power button: all processes at once, the disk stays, /run does not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from segue.errors import Refused
from segue.lab.api import Lab
from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab


def state_of(lab: Lab, name: str) -> str:
    return next(machine.state for machine in lab.status().machines if machine.name == name)


def test_every_process_and_namespace_of_a_killed_host_is_gone(lab: Lab) -> None:
    asleep = lab.popen("host1", ["sh", "-c", "setsid sleep 1000 & sleep 1000"])
    wait_until(lambda: "sleep 1000" in lab.exec("host1", ["ps", "axo", "cmd"]).stdout, "both sleeps run")
    pids = lab.host_pids("host1")
    network = os.readlink(f"/proc/{pids[0]}/ns/net")
    lab.kill("host1")
    assert asleep.wait(10) == -9
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists()]
    assert network not in networks()
    assert state_of(lab, "host1") == "off"
    assert lab.host_pids("host1") == []
    assert "host1" not in lab.exec("fabric", ["ls", "/sys/class/net"]).stdout.split()
    lab.start("host1")


def networks() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):  # it ended while we looked
            found.add(os.readlink(path))
    return found


def test_others_do_not_notice_and_both_verbs_may_be_repeated(lab: Lab) -> None:
    before = lab.host_pids("host2")[0]
    lab.kill("host1")
    lab.kill("host1")
    lab.exec("client1", ["ping", "-c1", "-W5", "host2"], check=True)
    with pytest.raises(Refused, match="does not run"):
        lab.exec("host1", ["true"])
    lab.start("host1")
    first = lab.host_pids("host1")[0]
    lab.start("host1")
    assert lab.host_pids("host1")[0] == first
    assert lab.host_pids("host2")[0] == before
    lab.exec("client1", ["ping", "-c1", "-W5", "host1"], check=True)


def test_a_disk_outlives_the_power_and_run_does_not(lab: Lab) -> None:
    lab.exec("host1", ["sh", "-c", "echo kept >/root/kept; echo lost >/run/segue/lost; echo lost >/tmp/lost"])
    lab.kill("host1")
    lab.start("host1")
    assert lab.exec("host1", ["cat", "/root/kept"]).stdout == "kept\n"
    assert lab.exec("host1", ["ls", "/run/segue/lost", "/tmp/lost"]).returncode != 0


def test_up_presses_every_power_button(lab: Lab) -> None:
    lab.kill("host2")
    lab.up(hosts=2, clients=1, images=())
    assert state_of(lab, "host2") == "running"


def test_a_host_that_died_by_itself_is_seen_and_started(lab: Lab) -> None:
    first = lab.host_pids("host2")[0]
    os.kill(first, 9)
    wait_until(lambda: state_of(lab, "host2") == "dead", "the machine is seen to be dead")
    lab.start("host2")
    lab.exec("client1", ["ping", "-c1", "-W5", "host2"], check=True)


def test_a_cut_and_a_rate_stay_over_a_power_loss(lab: Lab) -> None:
    lab.cut("host1--client1")
    lab.set_rate(100_000_000, "host1")
    lab.kill("host1")
    lab.start("host1")
    assert lab.exec("client1", ["ping", "-c1", "-W0.3", "host1"]).returncode != 0
    assert "rate 100Mbit" in lab.exec("host1", ["tc", "qdisc", "show", "dev", "uplink0"]).stdout
    lab.mend()
    lab.set_rate(None)
    lab.exec("client1", ["ping", "-c1", "-W5", "host1"], check=True)
    assert "tbf" not in lab.exec("host1", ["tc", "qdisc", "show", "dev", "uplink0"]).stdout
    assert "tbf" not in lab.exec("fabric", ["tc", "qdisc", "show", "dev", "host1"]).stdout
