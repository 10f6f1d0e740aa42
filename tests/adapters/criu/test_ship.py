"""A folder that is still being filled arrives whole, and only from whoever knows the key: with real processes."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from segue.adapters.criu import keys
from segue.adapters.criu.porter import Porter
from segue.errors import Aborted

LIMIT_S = 30.0
NOTHING: Mapping[str, object] = {}


async def _ends(
    here: Path,
    there: Path,
    secret: str,
    other: str,
    in_more: Mapping[str, object] = NOTHING,
    out_more: Mapping[str, object] = NOTHING,
) -> tuple[Porter, Porter]:
    order = {"host": "127.0.0.1", "channels": 2}
    taking = await Porter.start(
        "ship_in", {**order, "folder": str(there), "identity": _identity(secret), **in_more}
    )
    port = int(await taking.hear("listening", LIMIT_S))
    giving = await Porter.start(
        "ship_out",
        {**order, "port": port, "folder": str(here), "identity": _identity(other), **out_more},
    )
    return giving, taking


def _identity(secret: str) -> str:
    return keys.pem(secret).decode() if secret else ""


def _folders(tmp_path: Path) -> tuple[Path, Path]:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    return here, there


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_folder_that_grows_arrives_whole(tmp_path: Path, encrypted: bool) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32) if encrypted else ""
    giving, taking = await _ends(here, there, secret, secret)
    try:
        await giving.hear("connected", LIMIT_S)
        giving.tell("begin")
        chance = random.Random(7)
        with (here / "pages-1.img").open("wb", buffering=0) as pages:
            for _ in range(40):
                pages.write(chance.randbytes(200_001))
                await asyncio.sleep(0.001)
        (here / "empty.img").touch()
        (here / "inventory.img").write_bytes(b"old")
        (here / "inventory.img").write_bytes(b"written anew")
        giving.tell("complete")
        await taking.hear("arrived", LIMIT_S)
        taking.tell("restored")
        await giving.hear("restored", LIMIT_S)
    finally:
        await giving.end()
        await taking.end()
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in here.iterdir()
    }
    assert (there / "inventory.img").read_bytes() == b"written anew"


async def test_a_stranger_is_sent_away_and_the_real_one_still_gets_in(tmp_path: Path) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32)
    stranger, taking = await _ends(here, there, secret, secrets.token_hex(32))
    try:
        with pytest.raises(Aborted, match="cannot connect"):
            await stranger.hear("connected", LIMIT_S)
        await taking.hear("refused", LIMIT_S)
    finally:
        await stranger.end()
        await taking.end()
    assert not list(there.iterdir())


async def test_a_broken_connection_is_an_abort_on_both_sides(tmp_path: Path) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32)
    giving, taking = await _ends(here, there, secret, secret)
    try:
        await giving.hear("connected", LIMIT_S)
        await giving.end()
        with pytest.raises(Aborted, match=r"closed the connection|reset"):
            await taking.hear("arrived", LIMIT_S)
    finally:
        await giving.end()
        await taking.end()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_source_hears_why_the_target_takes_nothing_more(tmp_path: Path, encrypted: bool) -> None:
    here, there = _folders(tmp_path)
    (here / "upper").mkdir()
    (here / "upper" / "large").write_bytes(bytes(64 << 20))
    secret = secrets.token_hex(32) if encrypted else ""
    more = {"tree": str(tmp_path / "gone")}
    giving, taking = await _ends(here, there, secret, secret, more, {"tree": str(here), "parts": ["upper"]})
    try:
        giving.tell("round")
        with pytest.raises(Aborted) as raised:
            await giving.hear("round1", LIMIT_S)
        assert "No such file" in raised.value.why
    finally:
        await giving.end()
        await taking.end()


def test_both_hosts_make_the_same_identity_of_a_secret_and_of_no_other() -> None:
    first, second = secrets.token_hex(32), secrets.token_hex(32)
    assert keys.pem(first) == keys.pem(first)
    assert keys.pem(first) != keys.pem(second)
