"""A terminal on a guest's serial console."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator

import aiohttp

from segue.cli import output
from segue.cli.fleet import Host

LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it


def attach(host: Host, guest: str) -> None:
    """Connects this terminal until Ctrl-] or the guest's end."""
    asyncio.run(_attach(host, guest))


async def _attach(host: Host, guest: str) -> None:
    async with session(host) as (line_to, base):
        try:
            async with line_to.ws_connect(f"{base}/v1/guests/{guest}/console/live") as line:
                output.say(f"Connected to {guest} on {host.name}; Ctrl-] leaves.")
                with raw_terminal():
                    await _carry(line)
        except aiohttp.WSServerHandshakeError:
            host.call("GET", f"/guests/{guest}")  # Raises the reason where the guest is not there.
            output.say(f"The console of {guest} cannot be opened now; it does not run on {host.name}.")
    output.say("\nLeft the console; the guest goes on.")


@contextlib.asynccontextmanager
async def session(host: Host) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """For connections to this agent that stay open, and what its addresses begin with."""
    unix = host.url.startswith("unix://")
    connector = (
        aiohttp.UnixConnector(host.url.removeprefix("unix://"))
        if unix
        else aiohttp.TCPConnector(ssl=host.context())
    )
    async with aiohttp.ClientSession(connector=connector) as made:
        yield made, "http://agent" if unix else host.url


async def _carry(line: aiohttp.ClientWebSocketResponse) -> None:
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: typed.put_nowait(os.read(sys.stdin.fileno(), 1024)))
    upward = asyncio.create_task(_send(line, typed))
    downward = asyncio.create_task(_show(line))
    await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(sys.stdin)
    upward.cancel()
    downward.cancel()


async def _send(line: aiohttp.ClientWebSocketResponse, typed: asyncio.Queue[bytes]) -> None:
    while (keys := await typed.get()) and LEAVE not in keys:
        await line.send_bytes(keys)


async def _show(line: aiohttp.ClientWebSocketResponse) -> None:
    async for message in line:
        if message.type is aiohttp.WSMsgType.BINARY:
            sys.stdout.buffer.write(message.data)
            sys.stdout.buffer.flush()


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Each key goes on as it is, until the end."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
