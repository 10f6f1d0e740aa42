"""The API keeps its promises: one task for one key, ETags, pages, events that resume, and a store that can be lost."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import httpx2
import pytest

from segue.errors import SegueError
from tests.controller.rig import Rig
from tests.controller.toy import GIB


def client(rig: Rig) -> httpx2.Client:
    context = ssl.create_default_context(cafile=str(rig.folder.ca))
    context.load_cert_chain(rig.folder.admin.certificate, rig.folder.admin.key)
    return httpx2.Client(base_url=f"{rig.urls()[0]}/v1", verify=context, timeout=20.0)


async def test_one_key_begins_one_task(rig: Rig) -> None:
    rig.start()
    host = await rig.host("host1")
    await rig.up(1)
    wish = {"name": "web1", "image": "micro", "memory_bytes": GIB}
    with client(rig) as calls:
        key = {"idempotency-key": "abc"}
        first = calls.post("/guests", json=wish, headers=key)
        again = calls.post("/guests", json=wish, headers=key)
        other = calls.post("/guests", json={**wish, "name": "web2"}, headers=key)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/v1/tasks/{first.json()['id']}"
    assert other.status_code == 400
    assert (await rig.ended(first.json()["id"]))["state"] == "done"
    assert host.names() == ["web1"]


async def test_a_guest_is_placed_where_it_is_taken_and_moved_without_a_target(rig: Rig) -> None:
    rig.start()
    one, two = await rig.host("host1"), await rig.host("host2")
    one.refuses.add("web1")
    await rig.up(2)
    two.add("other", 4 * GIB)
    await rig.until("it is known", lambda: rig.caller().call("GET", "/status")["guests"] == 1)
    made = await rig.call("POST", "/guests", {"name": "web1", "image": "micro", "memory_bytes": GIB})
    assert (await rig.ended(made["id"]))["host"] == "host2"
    giant = await rig.call("POST", "/guests", {"name": "giant", "image": "micro", "memory_bytes": 99 * GIB})
    ended = await rig.ended(giant["id"])
    assert ended["state"] == "failed"
    assert "host1, host2" in ended["note"] or "host1: " in ended["note"], ended["note"]
    assert "short of memory" in ended["note"]
    one.refuses.clear()
    await rig.until("web1 is known", lambda: rig.caller().call("GET", "/guests/web1"))
    moved = await rig.call("POST", "/guests/web1/migrations", {})
    assert (await rig.ended(moved["id"]))["host"] == "host1"
    assert one.names() == ["web1"]
    await rig.call("PATCH", "/hosts/host2", {"cordoned": True})
    choice = await rig.call("POST", "/placements", {"guest": "web1"})
    assert set(choice["refused"]) == {"host1", "host2"}


async def test_etags(rig: Rig) -> None:
    rig.start()
    await rig.host("host1")
    await rig.up(1)
    with client(rig) as calls:
        tag = calls.get("/hosts/host1").headers["etag"]
        fresh = calls.patch("/hosts/host1", json={"cordoned": True}, headers={"if-match": tag})
        stale = calls.patch("/hosts/host1", json={"cordoned": False}, headers={"if-match": tag})
        assert calls.get("/hosts/host1").headers["etag"] == fresh.headers["etag"] != tag
        for path, one, other in (
            ("/guests/web1/wishes", {"importance": 1}, {"importance": 2}),
            ("/balance", {"looks": 2}, {"looks": 3}),
        ):
            early = calls.patch(path, json=one, headers={"if-match": '"1"'})
            tag = calls.patch(path, json=one).headers["etag"]
            assert calls.patch(path, json=other, headers={"if-match": tag}).status_code == 200
            late = calls.patch(path, json=one, headers={"if-match": tag})
            assert (early.status_code in {404, 409}, late.status_code) == (True, 409)
        assert calls.get("/balance").headers["etag"] not in {"", tag}
    assert (fresh.status_code, stale.status_code) == (200, 409)
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]
    assert (await rig.call("GET", "/balance"))["orders"]["settings"]["looks"] == 3


async def test_pages_and_selectors(rig: Rig) -> None:
    rig.start()
    for number in range(5):
        await rig.host(f"host{number}", {"rack": f"r{number % 2}"})
    await rig.up(5)
    page = await rig.call("GET", "/hosts?limit=2")
    names = [host["name"] for host in page["items"]]
    page = await rig.call("GET", f"/hosts?limit=3&after={page['next']}")
    assert names + [host["name"] for host in page["items"]] == [f"host{n}" for n in range(5)]
    assert page["next"] == ""
    found = await rig.call("GET", "/hosts?selector=rack=r1")
    assert [host["name"] for host in found["items"]] == ["host1", "host3"]
    one = rig.world.hosts["host0"]
    await rig.until("peers are known", lambda: set(one.peers) == {f"host{n}" for n in range(1, 5)})


async def test_events_resume_and_leave_nothing_out(rig: Rig) -> None:
    rig.start()
    host = await rig.host("host1")
    await rig.up(1)
    begin = (await rig.call("GET", "/status"))["revision"]
    for number in range(5):
        host.add(f"g{number}")
        await asyncio.sleep(0.1)
    await rig.until("all are known", lambda: rig.caller().call("GET", "/status")["guests"] == 5)

    def read(since: int, until: str) -> tuple[list[str], int]:
        seen: list[str] = []
        last, kind = since, ""
        headers = {"last-event-id": str(since)}
        with client(rig) as calls, calls.stream("GET", "/events", headers=headers) as answer:
            for line in answer.iter_lines():
                last = int(line[4:]) if line.startswith("id: ") else last
                kind = line[7:] if line.startswith("event: ") else kind
                if line.startswith("data: ") and kind == "guest":
                    seen.append(json.loads(line[6:])["value"]["name"])
                    if seen[-1] == until:
                        return seen, last
        return seen, last

    first, last = await asyncio.to_thread(read, begin, "g1")
    rest, _ = await asyncio.to_thread(read, last, "g4")
    assert list(dict.fromkeys(first + rest)) == [f"g{n}" for n in range(5)], (
        "a commit may come again, none is left out"
    )
    with client(rig) as calls:
        assert calls.get("/events?since=999999").status_code == 410


async def test_a_lost_store_is_filled_again_by_the_agents_and_their_epoch_is_not_undercut(rig: Rig) -> None:
    first = rig.start()
    host = await rig.host("host1", {"rack": "r1"})
    host.add("web1")
    await rig.until("it is known", lambda: rig.caller().call("GET", "/guests/web1"))
    await rig.call("PATCH", "/hosts/host1", {"cordoned": True, "labels": {"owner": "ops"}})
    await rig.until("the host keeps it", lambda: host.kept and host.kept.cordoned)
    host.obey(41)
    first.kill()
    for path in rig.path.glob("store.db*"):
        path.unlink()
    again = rig.start("c2")
    again_urls = (again.url,)
    await host.die()
    host.lost = False
    await host.begin(rig.way("host1", {"rack": "r1"}))
    await rig.adopt(rig.caller(urls=again_urls))

    def back() -> bool:
        seen = rig.caller(urls=again_urls).call("GET", "/status")
        return bool(seen["hosts_up"] == 1 and seen["guests"] == 1 and seen["epoch"] > 41)

    await rig.until("everything is known again", back)
    found = await rig.call("GET", "/hosts/host1", caller=rig.caller(urls=again_urls))
    assert found["labels"] == {"rack": "r1", "owner": "ops"}
    assert found["cordoned"], "its agent carried it"
    assert host.epochs[-1] > 41


async def test_init_overwrites_nothing(rig: Rig) -> None:
    from segue.controller import folder

    before = {path: path.read_bytes() for path in rig.folder.path.iterdir()}
    with pytest.raises(SegueError, match="is not empty"):
        folder.init(rig.folder, [], None)
    assert {path: path.read_bytes() for path in rig.folder.path.iterdir()} == before
    other = folder.Folder(Path(rig.path) / "second")
    folder.init(other, ["192.0.2.10"], (rig.folder.ca, rig.folder.path / "ca.key"))
    assert other.ca.read_bytes() == rig.folder.ca.read_bytes()
