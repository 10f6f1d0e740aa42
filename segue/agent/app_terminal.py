"""One more program in a running application's container, with a terminal that somebody sits at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
from asyncio.subprocess import Process

import msgspec
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from segue.agent import app_exec
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Refused
from segue.wire.apps import Size, Terminal, TerminalEnd

READ_BYTES = 4096
LARGEST = 10_000
"""Rows or columns of a terminal."""


async def serve(services: Services, keeper: Keeper, socket: WebSocket) -> None:
    """Carries what is typed and shown until the program ends, or whoever sits there has left: then it is ended, too.

    The first message is a `Terminal`, each later text a `Size`; bytes are what is typed and shown. The last one is a
    `TerminalEnd`.
    """
    await socket.accept()
    try:
        wish = msgspec.json.decode(await socket.receive_text(), type=Terminal)
        process, master = await _begin(services, keeper, wish)
    except Refused as refusal:
        return await _end(socket, TerminalEnd(-1, refusal.what, refusal.why, refusal.todo))
    except msgspec.ValidationError as error:
        return await _end(
            socket, TerminalEnd(-1, "nothing is executed", str(error), "Say what is to be executed.")
        )
    except WebSocketDisconnect:
        return None
    try:
        await _carry(process, master, socket)
    finally:
        os.close(master)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await _end(socket, TerminalEnd(await process.wait()))
    return None


async def _begin(services: Services, keeper: Keeper, wish: Terminal) -> tuple[Process, int]:
    command = app_exec.command(services, keeper, wish, tty=True)
    master, slave = os.openpty()
    try:
        _resize(master, wish.size)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    return process, master


async def _carry(process: Process, master: int, socket: WebSocket) -> None:
    """Returns when either side has ended."""
    up = asyncio.create_task(_up(process, master, socket))
    down = asyncio.create_task(_down(master, socket))
    await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
    for half in (up, down):
        half.cancel()
    await asyncio.gather(up, down, return_exceptions=True)


async def _down(master: int, socket: WebSocket) -> None:
    """What is shown, until nobody has the terminal's other end."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    while True:
        loop.add_reader(master, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(master)
        ready.clear()
        try:
            data = os.read(master, READ_BYTES)
        except OSError:  # So the kernel says that the other end is closed.
            return
        await socket.send_bytes(data)


async def _up(process: Process, master: int, socket: WebSocket) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if data := message.get("bytes"):
            await asyncio.to_thread(os.write, master, data)
        elif text := message.get("text"):
            with contextlib.suppress(msgspec.ValidationError, ProcessLookupError):
                _resize(master, msgspec.json.decode(text, type=Size))
                process.send_signal(signal.SIGWINCH)  # The runtime asks for the size, and hands it on.


def _resize(master: int, size: Size) -> None:
    termios.tcsetwinsize(master, (min(max(size.rows, 1), LARGEST), min(max(size.columns, 1), LARGEST)))


async def _end(socket: WebSocket, said: TerminalEnd) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # Whoever sat there has left.
        await socket.send_text(msgspec.json.encode(said).decode())
        await socket.close()
