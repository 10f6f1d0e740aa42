"""A heartbeat on storage moves as long as its host writes, and no longer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from segue.adapters.storage.beat import FOLDER, Beats


async def test_a_host_that_writes_is_seen_and_one_that_has_stopped_is_not(tmp_path: Path) -> None:
    one, other = Beats("host1", tmp_path, "b1"), Beats("host2", tmp_path, "b2")
    one.start()
    (tmp_path / FOLDER).mkdir(exist_ok=True)
    dead = Beats("host3", tmp_path, "b3")
    dead.write(7)
    seen = await asyncio.gather(*(other.moves(host) for host in ("host1", "host3", "host4", "../host1")))
    assert seen == [True, False, False, False]


async def test_a_host_that_has_booted_anew_moves_too(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    Beats("host1", tmp_path, "b1").write(0)
    looking = asyncio.create_task(Beats("host2", tmp_path, "b2").moves("host1"))
    await asyncio.sleep(0.3)
    Beats("host1", tmp_path, "another boot").write(0)
    assert await looking
