"""What `up` makes is what a host is: real Debian, the agent under its supervisor, the network in place."""

from __future__ import annotations

import tomllib

import pytest

from segue.lab import nodes, teardown
from segue.lab.api import Lab
from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab


def said(lab: Lab, machine: str, *argv: str) -> str:
    return lab.exec(machine, argv, check=True).stdout.strip()


def test_a_host_is_a_debian_machine_of_its_own(lab: Lab) -> None:
    assert said(lab, "host1", "hostname") == "host1"
    assert said(lab, "host1", "cat", "/etc/debian_version").startswith("13")
    assert said(lab, "host1", "python3", "-c", "import sys; print(sys.version_info[:2])") == "(3, 13)"
    assert said(lab, "host1", "cat", "/proc/1/comm") == "tini"
    assert "kvm" in said(lab, "host1", "id", "-nG", "segue-qemu")
    assert said(lab, "host1", "ls", "/sys/class/net").split() == ["br0", "lo", "uplink0"]
    assert said(lab, "client1", "ls", "/sys/class/net").split() == ["eth0", "lo"]


def test_programs_in_a_host_see_nothing_of_the_machine(lab: Lab) -> None:
    mounts = said(lab, "host1", "cat", "/proc/self/mountinfo")
    assert {line.split()[4] for line in mounts.splitlines()} >= {"/", "/proc", "/sys", "/dev", "/run/segue"}
    assert len(mounts.splitlines()) <= 14
    assert said(lab, "host1", "sh", "-c", "echo /proc/[0-9]*").count("/proc/") < 20


def test_devices_work(lab: Lab) -> None:
    said(lab, "host1", "sh", "-c", "head -c 8 /dev/urandom >/dev/null && echo x >/dev/null")
    said(lab, "host1", "ip", "tuntap", "add", "probe0", "mode", "tap")
    said(lab, "host1", "ip", "link", "del", "probe0")
    assert said(lab, "host1", "python3", "-c", "import pty; print(pty.openpty()[0] > 0)") == "True"


def test_shared_folder_is_writable_and_images_are_not(lab: Lab) -> None:
    said(lab, "host1", "sh", "-c", "echo hello >/srv/segue/shared/file")
    assert said(lab, "host2", "cat", "/srv/segue/shared/file") == "hello"
    assert "Read-only" in lab.exec("host1", ["touch", "/srv/segue/images/file"]).stderr


def test_frames_of_1600_bytes_pass_between_hosts_and_of_1500_elsewhere(lab: Lab) -> None:
    big, ordinary = str(nodes.FABRIC_MTU - 28), str(nodes.GUEST_MTU - 28)
    said(lab, "host1", "ping", "-c1", "-W5", "-Mdo", "-s", big, "host2")
    said(lab, "host1", "ping", "-c1", "-W5", "-Mdo", "-s", ordinary, "client1")
    assert lab.exec("host1", ["ping", "-c1", "-W0.3", "-Mdo", "-s", big, "client1"]).returncode != 0


def test_the_uplink_joins_the_bridge_that_has_the_address(lab: Lab) -> None:
    assert "master br0" in said(lab, "host1", "ip", "-o", "link", "show", "uplink0")
    assert "10.77.0.11/16" in said(lab, "host1", "ip", "-o", "addr", "show", "br0")
    assert "inet6" not in said(lab, "host1", "ip", "-o", "addr", "show", "br0")
    for name in ("stp_state", "forward_delay", "multicast_snooping"):
        assert said(lab, "host1", "cat", f"/sys/class/net/br0/bridge/{name}") == "0"


def test_the_agent_is_supervised_at_its_priority_and_restarted(lab: Lab) -> None:
    find = ["pgrep", "-f", "segue agent --config /etc/segue/agent.toml"]
    wait_until(lambda: lab.exec("host1", find).stdout, "the agent has been started")
    first = lab.exec("host1", find).stdout.split()[0]
    assert said(lab, "host1", "ps", "-o", "ni=", "-p", first) == "-10"
    said(lab, "host1", "kill", "-KILL", first)
    wait_until(lambda: lab.exec("host1", find).stdout.split() not in ([], [first]), "a new agent")


def test_segue_is_installed_with_what_it_imports(lab: Lab) -> None:
    assert "status" in said(lab, "client1", "segue", "lab", "--help")
    imports = "import aiohttp, cryptography, fastapi, msgspec, pyroute2, qemu.qmp, uvicorn, yaml, segue"
    where = "/usr/lib/segue/app:/usr/lib/segue/site-packages"
    said(lab, "client1", "env", f"PYTHONPATH={where}", "python3", "-P", "-c", imports)


def test_contexts_name_every_host(lab: Lab) -> None:
    local = tomllib.loads(lab.places.context.read_text())
    assert local["hosts"]["host1"] == f"unix://{lab.agent_socket('host1')}"
    remote = tomllib.loads(said(lab, "client1", "cat", "/etc/segue/context.toml"))
    assert remote["hosts"] == {"host1": "https://10.77.0.11:7443", "host2": "https://10.77.0.12:7443"}
    assert "BEGIN CERTIFICATE" in said(lab, "client1", "cat", remote["tls"]["cert"])


def test_up_again_disturbs_nothing_and_adds_what_is_missing(no_lab: Lab) -> None:
    no_lab.up(hosts=1, clients=1, images=())
    before = {machine.name: machine.pid for machine in no_lab.status().machines}
    no_lab.up(hosts=1, clients=1, images=())
    no_lab.up(hosts=2, clients=0, images=())
    after = {machine.name: machine.pid for machine in no_lab.status().machines}
    assert {name: after[name] for name in before} == before
    assert after["host2"] > 0
    peers = tomllib.loads(said(no_lab, "host1", "cat", "/etc/segue/agent.toml"))["peers"]
    assert peers == {"host2": "https://10.77.0.12:7443"}
    said(no_lab, "client1", "ping", "-c1", "-W5", "host2")


def test_a_lab_comes_back_when_its_fabric_has_died(no_lab: Lab) -> None:
    no_lab.up(hosts=2, clients=1, images=())
    no_lab.cut("host1--host2")
    teardown.end_machine(no_lab.host_pids("fabric")[0])
    assert no_lab.exec("host1", ["ping", "-c1", "-W0.3", "client1"]).returncode != 0
    no_lab.up(hosts=2, clients=1, images=())
    # The first may still be told that the client was not there a moment ago.
    wait_until(
        lambda: no_lab.exec("host1", ["ping", "-c1", "-W1", "client1"]).returncode == 0, "the client is back"
    )
    assert no_lab.exec("host1", ["ping", "-c1", "-W0.3", "host2"]).returncode != 0
