"""The store is full or gone, a host has an old journal, a controller gives old orders: nothing runs twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab.api import Lab
from tests.lab.ha import MEMBERS, HaFleet, demand_all_answer
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(400)]
SLOW_BYTES_PER_S: Final = 16 << 20
TINY_BYTES: Final = 64 << 10
"""Less than an etcd has after its first minute."""
IMPOSTOR: Final = """
import asyncio, json, ssl, sys
from aiohttp import web

async def link(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    hello = json.loads((await socket.receive()).data)
    epoch = hello["epoch"]
    send = lambda **frame: socket.send_str(json.dumps(frame))
    await send(type="welcome", epoch=epoch, peers={})
    await send(type="command", number=1, epoch=epoch - 1, method="POST",
               path="/v1/guests/" + sys.argv[1] + "/stop", body="{}")
    async for message in socket:
        frame = json.loads(message.data)
        if frame["type"] == "answer":
            print(json.dumps(frame), flush=True)
            await send(type="welcome", epoch=epoch - 1, peers={})
    print("hung up", flush=True)
    return socket

app = web.Application()
app.router.add_get("/v1/link", link)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/etc/segue/controller/controller.pem", "/etc/segue/controller/controller.key")
web.run_app(app, port=7440, ssl_context=context, print=None)
"""
"""A controller that was replaced and does not know it, at its worst: it looks at no clock before it acts."""
BACKUP: Final = """
import sqlite3
sqlite3.connect("/var/lib/segue/journal.db").backup(sqlite3.connect("/srv/segue/shared/old.db"))
"""


@pytest.fixture(scope="module")
def fleet(labs_folder: object) -> Iterator[HaFleet]:
    made = HaFleet(f"hs{os.getpid()}", hosts=2)
    try:
        made.up()
        made.make_guests("host1", ["g1", "g2"])
        yield made
    finally:
        Lab(made.lab.places.name).down()


def with_quota(fleet: HaFleet, line: str) -> None:
    """Restarts the members with it, one after the other."""
    for member in MEMBERS:
        fleet.sh(member, f"echo '{line}' > /etc/default/etcd; sv -w 20 restart /etc/service/etcd")
        wait_until(lambda member=member: fleet.member_is_well(member), f"{member} takes part")  # type: ignore[misc]


def test_a_full_etcd_stops_decisions_and_nothing_else(fleet: HaFleet) -> None:
    fleet.wait_whole()
    drain = fleet.drain(bandwidth_bytes_per_s=SLOW_BYTES_PER_S)
    drain.wait_begun()
    with_quota(fleet, f"ETCD_QUOTA_BACKEND_BYTES={TINY_BYTES}")

    def is_told() -> bool:
        done = fleet.lab.exec("client1", ["segue", "host", "cordon", "host2"])
        return done.returncode != 0 and "full" in done.stderr

    wait_until(is_told, "a decision is refused, as the store is full")
    wait_until(lambda: not fleet.under_way(), "what was under way has ended by itself")
    demand_all_answer(fleet)
    with_quota(fleet, "")
    fleet.sh("etcd1", "etcdctl alarm disarm")
    fleet.wait_whole(120.0)
    drain.end()


def test_an_empty_store_in_the_place_of_a_lost_one_is_filled_by_the_agents(fleet: HaFleet) -> None:
    fleet.wait_whole()
    fleet.call("PATCH", "/hosts/host2", {"cordoned": True})
    before, ours = fleet.status(), fleet.call("GET", "/identity")["id"]
    known = {m["id"] for m in fleet.call("GET", "/migrations?limit=500")["items"]}
    assert before["tasks"] == 0
    assert known
    for member in MEMBERS:
        fleet.sh(member, "sv -w 20 down /etc/service/etcd; rm -rf /var/lib/etcd/data")
    for member in MEMBERS:
        fleet.sh(member, "sv up /etc/service/etcd")

    def is_back() -> bool:
        now = fleet.status()
        return bool(now["hosts_up"] == now["guests"] == 2 and now["epoch"] > before["epoch"])

    wait_until(is_back, f"the agents have told everything again: {before}", 120.0)
    assert {m["id"] for m in fleet.call("GET", "/migrations?limit=500")["items"]} == known
    demand_all_answer(fleet)
    assert fleet.call("GET", "/hosts/host2")["cordoned"], "its agent keeps what was decided of it"
    assert fleet.call("GET", "/identity")["id"] == ours, "controllers that ran know whose store it was"
    fleet.call("PATCH", "/hosts/host2", {"cordoned": False})
    assert fleet.call("GET", "/tasks")["items"] == []
    fleet.drain(parallel=2).end()


def test_a_host_that_comes_back_with_an_old_journal_runs_nothing(fleet: HaFleet) -> None:
    fleet.wait_whole()
    source, backup = fleet.home(), fleet.lab.places.shared / "old.db"
    fleet.lab.exec(source, ["python3", "-c", BACKUP], check=True)
    fleet.drain(parallel=2).end()
    fleet.lab.kill(source)
    folder = fleet.lab.places.node("host", source) / "upper/var/lib/segue"
    for path in folder.glob("journal.db*"):
        path.unlink()
    (folder / "journal.db").write_bytes(backup.read_bytes())
    fleet.lab.start(source)
    fleet.wait_whole()
    wait_until(lambda: fleet.names_on(source) == [], "what the old journal says it owns is dropped")
    qemus = [pid for pid in fleet.lab.host_pids(source) if b"qemu-system" in command(pid)]
    assert qemus == []
    demand_all_answer(fleet)
    wait_until(lambda: fleet.status()["guests"] == 2, "the fleet knows both guests")
    assert {g["host"] for g in fleet.call("GET", "/guests")["items"]} == set(fleet.hosts) - {source}
    fleet.drain(parallel=2).end()


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_agent_obeys_no_controller_that_was_replaced(fleet: HaFleet) -> None:
    fleet.wait_whole()
    home, leader = fleet.home(), fleet.leader()
    guest = fleet.names_on(home)[0]
    others = [f"controller{n}" for n in (1, 2, 3) if f"controller{n}" != leader]
    impostor = others[0]
    fleet.sh(impostor, "sv -w 20 down /etc/service/segue-controller")
    path = "/usr/lib/segue/app:/usr/lib/segue/site-packages"
    argv = ["env", f"PYTHONPATH={path}", "python3", "-c", IMPOSTOR, guest]
    log = (tmp := fleet.lab.places.top / "impostor.log").open("wb")
    process = fleet.lab.popen(impostor, argv, stdout=log, stderr=log)
    try:
        for controller in {leader, *others} - {impostor}:
            fleet.lab.cut(f"{home}--{controller}")
        wait_until(lambda: "hung up" in tmp.read_text(), f"{home} comes, and goes: {tmp.read_text()}")
    finally:
        process.terminate()
        process.wait(10.0)
        fleet.lab.mend()
        fleet.sh(impostor, "sv up /etc/service/segue-controller")
    assert '"status": 409' in tmp.read_text()
    assert "which was obeyed" in tmp.read_text()
    shown = [g for g in fleet.agent(home).call("GET", "/guests") if g["name"] == guest]
    assert [g["state"] for g in shown] == ["running"]
    demand_all_answer(fleet)


def test_a_dead_member_is_replaced_as_the_docs_say(fleet: HaFleet) -> None:
    fleet.wait_whole()
    fleet.lab.kill("etcd3")
    upper = fleet.lab.places.node("etcd", "etcd3") / "upper"
    shutil.rmtree(upper / "var/lib/etcd")
    drain = fleet.drain()
    listing = fleet.sh("etcd1", "etcdctl member list")
    number = next(line.split(",")[0] for line in listing.splitlines() if "etcd3" in line)
    fleet.sh("etcd1", f"etcdctl member remove {number}")
    fleet.sh("etcd1", "etcdctl member add etcd3 --peer-urls=https://10.77.0.153:2380")
    (upper / "etc/default").mkdir(parents=True, exist_ok=True)
    (upper / "etc/default/etcd").write_text("ETCD_INITIAL_CLUSTER_STATE=existing\n")
    fleet.lab.start("etcd3")
    wait_until(lambda: fleet.member_is_well("etcd3"), "the new member takes part")
    drain.end()
    assert fleet.sh("etcd1", "etcdctl endpoint health --cluster 2>&1").count("is healthy") == len(MEMBERS)
