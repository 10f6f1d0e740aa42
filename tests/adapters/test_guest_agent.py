"""The channel to a guest's agent: begun anew each time, bounded in time, and one talk after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from segue.adapters.qemu import guest_agent
from segue.adapters.qemu.guest_agent import AgentRefused, NoGuestAgent


@asynccontextmanager
async def channel(path: Path, *, rubbish: bytes = b"", deaf: bool = False) -> AsyncIterator[list[str]]:
    """A program that answers as qemu-guest-agent does; what it was asked."""
    asked: list[str] = []
    talking = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal talking
        talking += 1
        assert talking == 1, "two talks at once"
        writer.write(rubbish)
        while line := await reader.readline():
            question = json.loads(line.lstrip(b"\xff"))
            asked.append(question["execute"])
            if deaf:
                continue
            if question["execute"] == "guest-sync-delimited":
                writer.write(b"\xff" + json.dumps({"return": question["arguments"]["id"]}).encode() + b"\n")
            elif question["execute"] == "guest-get-time":
                writer.write(b'{"return": 1500000000}\n')
            else:
                writer.write(b'{"error": {"class": "CommandNotFound", "desc": "no such command"}}\n')
        talking -= 1
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield asked
    finally:
        server.close()


@pytest.mark.parametrize("rubbish", [b"", b'{"return": 17}\n', b'half of an ans\xff{"return": 3}\n'])
async def test_what_an_earlier_talk_left_is_skipped(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "qga.sock"
    async with channel(path, rubbish=rubbish), guest_agent.talk(path, 10.0) as talk:
        assert (await talk.clock()).guest_s == 1.5


async def test_an_error_is_the_agents_own_word(tmp_path: Path) -> None:
    path = tmp_path / "qga.sock"
    async with channel(path), guest_agent.talk(path, 10.0) as talk:
        with pytest.raises(AgentRefused, match="no such command"):
            await talk.ask("guest-fly")


async def test_nobody_waits_longer_than_was_said(tmp_path: Path) -> None:
    path = tmp_path / "qga.sock"
    async with channel(path, deaf=True) as asked:
        with pytest.raises(NoGuestAgent, match="did not answer"):
            async with guest_agent.talk(path, 0.05):
                pass
        assert asked == ["guest-sync-delimited"]


async def test_no_channel_is_no_agent(tmp_path: Path) -> None:
    with pytest.raises(NoGuestAgent):
        async with guest_agent.talk(tmp_path / "none.sock", 1.0):
            pass


async def test_one_talk_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "qga.sock"

    async def ask() -> float:
        async with guest_agent.talk(path, 10.0) as talk:
            return (await talk.clock()).guest_s

    async with channel(path):
        assert set(await asyncio.gather(ask(), ask(), ask())) == {1.5}
