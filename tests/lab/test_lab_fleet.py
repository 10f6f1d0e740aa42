"""A lab with controllers and etcd: what `up` makes of it, what it refuses, and that a controller needs no rights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from segue.errors import Refused
from segue.lab import control, state
from segue.lab.api import Lab
from tests.lab.moves import wait_until

pytestmark = pytest.mark.lab
BARE = (
    "setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
)
"""What the unit of docs/how-to/high-availability.md leaves a controller, without systemd."""


@pytest.fixture(scope="module")
def lab(labs_folder: object) -> Iterator[Lab]:
    made = Lab(f"lf{os.getpid()}")
    made.up(hosts=1, clients=1, images=(), controllers=2, etcd=1)
    made.wait_for_services()
    yield made
    made.down()


def status(lab: Lab) -> dict[str, object]:
    done = lab.exec("client1", ["segue", "status", "-o", "json"])
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def test_agents_and_clients_know_the_controllers_and_one_leads(lab: Lab) -> None:
    wait_until(lambda: status(lab).get("hosts_up") == 1, "the host is connected")
    for name in ("host1", "client1"):
        text = lab.exec(name, ["cat", "/etc/segue/context.toml"], check=True).stdout
        assert "https://10.77.0.131:7440" in text
        assert "https://10.77.0.132:7440" in text
    assert str(status(lab)["leader"]).startswith("controller")
    seen = {machine.name: machine.agent for machine in lab.status().machines}
    assert seen == {"host1": "answering", "client1": "", "etcd1": "answering", "fabric": ""} | dict.fromkeys(
        ("controller1", "controller2"), "answering"
    )
    assert "is healthy" in lab.exec("etcd1", ["sh", "-c", "etcdctl endpoint health 2>&1"]).stdout


@pytest.mark.slow
def test_up_again_disturbs_nothing_and_adds_what_is_missing(lab: Lab) -> None:
    def pids() -> dict[str, int]:
        return {machine.name: machine.pid for machine in lab.status().machines}

    before = pids()
    lab.up(hosts=1, clients=1, images=(), controllers=2, etcd=1)
    assert pids() == before
    lab.kill("controller2")
    assert [m.state for m in lab.status().machines if m.name == "controller2"] == ["off"]
    lab.start("controller2")
    lab.wait_for_services()
    assert {name: pid for name, pid in pids().items() if name != "controller2"} == {
        name: pid for name, pid in before.items() if name != "controller2"
    }


@pytest.mark.parametrize(
    ("controllers", "etcd", "why"),
    [(0, 3, "the lab's store has 1 etcd members"), (0, 2, "an even number"), (10, 1, "room for 0 to 9")],
)
def test_what_cannot_be_made_is_refused(lab: Lab, controllers: int, etcd: int, why: str) -> None:
    with pytest.raises(Refused, match=why):
        lab.up(hosts=1, clients=1, images=(), controllers=controllers, etcd=etcd)


def test_several_controllers_need_etcd(no_lab: Lab) -> None:
    with pytest.raises(Refused, match="need etcd"):
        no_lab.up(hosts=1, images=(), controllers=2)
    with pytest.raises(Refused, match="there are none"):
        no_lab.up(hosts=1, images=(), etcd=1)
    assert not no_lab.places.state.exists()


@pytest.mark.slow
def test_a_controller_needs_no_rights_and_four_files(lab: Lab) -> None:
    everybody = state.need(lab.places).everybody
    files = "ca.pem ca.key controller.pem controller.key"
    copy = f"rm -rf /tmp/bare; mkdir -m 700 /tmp/bare; cd {control.FOLDER}; cp {files} /tmp/bare"
    store = control.store(everybody).replace("/etc/segue/etcd", "/tmp/bare/etcd")
    etcd = "cp -r /etc/segue/etcd /tmp/bare/etcd; chown -R nobody:nogroup /tmp/bare"
    lab.exec("controller2", ["sh", "-ec", f"{copy}; {etcd}"], check=True)
    run = f"exec {BARE} segue controller run --dir /tmp/bare --store '{store}' --port 7449 --name bare"
    with (lab.places.top / "bare.log").open("wb") as log:
        process = lab.popen("controller2", ["sh", "-c", run], stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(lab, 7449), "it serves as nobody")
        rights = lab.exec("controller2", ["sh", "-c", "grep -h CapEff /proc/$(pgrep -f 'name bare$')/status"])
        assert int(rights.stdout.split()[1], 16) == 0, rights.stdout
    finally:
        process.terminate()
        process.wait(20.0)


def listens(lab: Lab, port: int) -> bool:
    done = lab.exec("controller2", ["ss", "-Hltn", f"sport = :{port}"])
    return str(port) in done.stdout
