"""The audit is appended to a file, every line once whatever is cut off; the store keeps what it may, and no less."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from segue.adapters.store import url
from segue.controller import audit_trail, stores
from segue.controller.mirror import Mirror
from segue.engine.store import Store
from segue.model import store as nouns
from segue.model.roster import AuditLine
from segue.model.store import Fence
from tests.controller.rig import Rig


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[tuple[Store, Mirror, Fence]]:
    """A store with a mirror that follows it, and a fence that holds."""
    async with stores.opened(url.parse(f"sqlite:///{tmp_path}/store.db")) as store:
        revision = await store.commit(nouns.create("held", b"1"))
        mirror = Mirror(store)
        following = asyncio.create_task(mirror.follow())
        await mirror.reached(revision)
        yield store, mirror, Fence("held", revision)
        following.cancel()


async def add(store: Store, mirror: Mirror, numbers: range, age_s: float = 0.0) -> None:
    changes = []
    for number in numbers:
        line = AuditLine(time.time() - age_s, "ann", "admin", "", f"call {number}", "done")
        changes.append(nouns.create(f"audit/{number:017d}-aaaaaa", msgspec.json.encode(line)))
    for begin in range(0, len(changes), 100):
        await mirror.reached(await store.commit(*changes[begin : begin + 100]))


async def test_old_lines_go_and_young_ones_stay(kept: tuple[Store, Mirror, Fence]) -> None:
    store, mirror, fence = kept
    await add(store, mirror, range(250), audit_trail.AGE_MOST_S + 10)
    await add(store, mirror, range(250, 300), audit_trail.AGE_MOST_S - 100)
    assert await audit_trail.prune(store, mirror, fence) == 250
    assert len(mirror.audit.items()) == 50
    assert await audit_trail.prune(store, mirror, fence) == 0


async def test_the_oldest_of_too_many_go(
    kept: tuple[Store, Mirror, Fence], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, mirror, fence = kept
    monkeypatch.setattr(audit_trail, "LINES_MOST", 40)
    await add(store, mirror, range(250))
    assert await audit_trail.prune(store, mirror, fence) == 210
    assert sorted(mirror.audit.items()) == [f"{n:017d}-aaaaaa" for n in range(210, 250)]


async def test_every_line_is_in_the_file_once(kept: tuple[Store, Mirror, Fence], tmp_path: Path) -> None:
    """Through an end, a half line as a crash leaves it, a log rotation, and lines that the store lost meanwhile."""
    store, mirror, _ = kept
    path = tmp_path / "audit.jsonl"

    def lines() -> list[str]:
        return [json.loads(line)["what"] for line in path.read_text().splitlines()]

    async def written(count: int) -> None:
        async with asyncio.timeout(10.0):
            while not path.exists() or path.read_bytes().count(b"\n") < count:
                await asyncio.sleep(0.02)

    await add(store, mirror, range(5))
    writing = asyncio.create_task(audit_trail.write(mirror, path))
    await written(5)
    writing.cancel()
    await asyncio.wait({writing})
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    await add(store, mirror, range(5, 8))
    writing = asyncio.create_task(audit_trail.write(mirror, path))
    await written(8)
    assert sorted(lines()) == [f"call {n}" for n in range(8)]
    path.rename(tmp_path / "audit.jsonl.1")
    await add(store, mirror, range(8, 10))
    await written(2)
    assert lines() == ["call 8", "call 9"]
    writing.cancel()
    await asyncio.wait({writing})
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_controller_writes_its_file_and_lists_since(rig: Rig) -> None:
    path = rig.path / "audit.jsonl"
    rig.start("c1", "--audit-file", str(path))
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    await rig.call("POST", "/tokens", {})
    await rig.until("its end is there", lambda: len(rig.caller().call("GET", "/audit")["items"]) == 2)
    middle_s = time.time()
    await rig.call("POST", "/tokens", {})

    def recent() -> list[str]:
        lines = rig.caller().call("GET", f"/audit?since={middle_s}")["items"]
        return [line["outcome"] for line in lines]

    await rig.until("what came since is listed", lambda: recent() == ["asked", "done"])
    await rig.until("all is in the file", lambda: path.exists() and len(path.read_text().splitlines()) == 4)
    first = json.loads(path.read_text().splitlines()[0])
    assert (first["who"], first["what"], first["outcome"]) == ("admin", "POST /v1/tokens", "asked")
