"""The guest's serial console: what it has written, and a live line to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from segue.agent import plant
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.guest import Guest

TAIL_BYTES = 1 << 20


def log_text(services: Services, guest: Guest) -> bytes:
    """The last mebibyte of the console's log on this host."""
    path: Path = plant.places(services, guest).console_log
    try:
        # The folder is the guest's user's: a link in it could lead to any file of ours.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _no_log(guest.name, error) from error


def _no_log(name: str, error: OSError) -> Refused:
    return Refused(
        what=f"the console of {name} is not shown",
        why=f"its log is not a file that we made ({error.strerror}): its QEMU put something else there",
        todo="That QEMU may be in a stranger's hands. Stop the guest and look at it.",
        kind=Kind.CONFLICT,
    )


async def serve(services: Services, guest: Guest, socket: WebSocket) -> None:
    """Carries bytes both ways until one side ends."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(plant.places(services, guest).console))
    except OSError as error:
        raise Refused(
            what=f"the console of {guest.name} cannot be opened",
            why="the guest does not run here" if isinstance(error, FileNotFoundError) else str(error),
            todo=f"`segue vm console {guest.name} --log` shows what it wrote before.",
            kind=Kind.CONFLICT,
        ) from error
    await socket.accept()
    halves = {asyncio.create_task(_down(reader, socket)), asyncio.create_task(_up(writer, socket))}
    _, rest = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
    for half in rest:
        half.cancel()
    await asyncio.gather(*halves, return_exceptions=True)
    writer.close()


async def _down(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    while data := await reader.read(4096):
        await socket.send_bytes(data)
    await socket.close(reason="the guest ended")


async def _up(writer: asyncio.StreamWriter, socket: WebSocket) -> None:
    try:
        while True:
            writer.write(await socket.receive_bytes())
            await writer.drain()
    except WebSocketDisconnect:
        return
