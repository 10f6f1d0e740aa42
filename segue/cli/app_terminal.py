"""`segue app exec --tty`: this terminal is that of a program in an application's container."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import aiohttp

from segue.cli import app_options, console
from segue.cli.fleet import Host
from segue.errors import Refused


def run(host: Host, name: str, wish: dict[str, Any]) -> int:
    """Until the program ends; its status. Raises Refused."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise app_options.usage(
            "nothing is executed",
            "there is no terminal here (--tty)",
            "Leave --tty out; --stdin hands on what comes in.",
        )
    env = wish["env"]
    if not any(one.startswith("TERM=") for one in env):
        env = [*env, f"TERM={os.environ.get('TERM', 'xterm')}"]
    return asyncio.run(_run(host, name, {**wish, "env": env, "size": _size()}))


async def _run(host: Host, name: str, wish: dict[str, Any]) -> int:
    async with console.session(host) as (session, base):
        try:
            async with session.ws_connect(f"{base}/v1/guests/{name}/exec/live") as line:
                await line.send_json(wish)
                with console.raw_terminal():
                    said = await _carry(line)
        except aiohttp.WSServerHandshakeError as error:
            host.call("GET", f"/guests/{name}")  # Raises the reason where the application is not there.
            raise _refused(name, f"its agent knows no terminals ({error.status}): it is older") from error
        except aiohttp.ClientError as error:
            raise host.unreachable(error) from error
    if said is None:
        raise _refused(name, "the connection to its host ended")
    if said["what"]:
        raise Refused(what=said["what"], why=said["why"], todo=said["todo"])
    status: int = said["status"]
    return status


async def _carry(line: aiohttp.ClientWebSocketResponse) -> dict[str, Any] | None:
    """What it said at last."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: typed.put_nowait(os.read(sys.stdin.fileno(), 1024)))
    resized: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGWINCH, lambda: resized.add(loop.create_task(line.send_json(_size()))))
    upward = asyncio.create_task(_send(line, typed))
    try:
        async for message in line:
            if message.type is aiohttp.WSMsgType.TEXT:
                said: dict[str, Any] = json.loads(message.data)
                return said
            if message.type is aiohttp.WSMsgType.BINARY:
                sys.stdout.buffer.write(message.data)
                sys.stdout.buffer.flush()
        return None
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_reader(sys.stdin)
        upward.cancel()


async def _send(line: aiohttp.ClientWebSocketResponse, typed: asyncio.Queue[bytes]) -> None:
    while keys := await typed.get():
        await line.send_bytes(keys)


def _size() -> dict[str, int]:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return {"rows": rows, "columns": columns}


def _refused(name: str, why: str) -> Refused:
    return Refused(
        what=f"the terminal in {name} is gone", why=why, todo=f"Look with `segue app show {name}`."
    )
