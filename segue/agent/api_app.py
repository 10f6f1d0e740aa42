"""The agent's API for applications: images, making one, programs in one, its output. The rest is as for any guest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

from segue.adapters import clock
from segue.adapters.http import access
from segue.adapters.oci import images as stores
from segue.agent import app_exec, app_log, app_terminal, apps
from segue.agent.app import agent_of
from segue.errors import Kind, Refused
from segue.wire.apps import AppImage, Exec, Executed, RunApp
from segue.wire.frames import Shown

UPLOAD: Final = "/v1/apps/images"
LARGE: Final = (UPLOAD,)


def _operator(request: Request) -> None:
    access.only(request, "operator")


open_router = APIRouter(prefix="/v1")
router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@router.get("/apps/images")
async def images(request: Request) -> list[AppImage]:
    """What applications can be made of on this host, without asking a registry."""
    found = agent_of(request).services.apps.images.every()
    return [AppImage(one.digest, one.references, one.bytes) for one in found]


@router.delete("/apps/images")
async def prune(request: Request) -> list[AppImage]:
    """Takes away every image of which no application of this host is made; those that went."""
    agent = agent_of(request)
    agent.services.apps.demand_programs()
    if agent.guests.moving():
        raise _moving()
    gone = await agent.services.apps.images.prune(
        lambda: {one.app.image for one in agent.guests.specs() if one.app is not None}
    )
    return [AppImage(one.digest, one.references, one.bytes) for one in gone]


@router.post("/apps/images", status_code=201)
async def take_in(
    request: Request, reference: Annotated[str, Query()] = "", pull: Annotated[bool, Query()] = False
) -> AppImage:
    """Takes the body in, a file of `docker save` or the like, or pulls `reference` from its registry."""
    here = agent_of(request).services.apps
    here.demand_programs()
    if pull:
        digest = await here.images.pull(reference)
    else:
        digest = await _uploaded(request, here, reference)
    return next(
        AppImage(one.digest, one.references, one.bytes) for one in here.images.every() if one.digest == digest
    )


async def _uploaded(request: Request, here: apps.Apps, reference: str) -> str:
    here.images.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="upload-", dir=here.images.folder) as file:
        try:
            async for part in request.stream():
                file.write(part)
            file.flush()
        except OSError as error:
            raise _no_room(here.images.folder, error) from error
        return await here.images.load(Path(file.name), reference or stores.name_of_file(Path(file.name)))


@router.post("/apps", status_code=201)
async def run(request: Request, wish: RunApp) -> Shown:
    """A new application from an image."""
    agent = agent_of(request)
    agent.guests.demand_free(wish.name)
    guest = await apps.specify(agent.services.apps, agent.services.networks, wish)
    try:
        await agent.guests.create(guest, start=wish.start)
    except BaseException:
        if wish.name not in agent.guests.names():
            agent.services.apps.remove_files(guest)
        raise
    shown = agent.guests.by_name(guest.name).shown()
    assert shown is not None
    return shown


@router.post("/guests/{name}/exec")
async def execute(request: Request, name: str, wish: Exec) -> Executed:
    """Runs a program in the application's container, to its end."""
    agent = agent_of(request)
    return await app_exec.run(agent.services, agent.guests.by_name(name), wish)


@open_router.websocket("/guests/{name}/exec/live")
async def execute_live(socket: WebSocket, name: str) -> None:
    """The same at a terminal, both ways."""
    access.only(socket, "operator")
    agent = agent_of(socket)
    await app_terminal.serve(agent.services, agent.guests.by_name(name), socket)


@router.get("/guests/{name}/log")
async def log(
    request: Request,
    name: str,
    lines: Annotated[int, Query(ge=1, le=app_log.LINES_MAX)] = 1000,
    follow: Annotated[bool, Query()] = False,
    last_s: Annotated[float, Query(ge=0)] = 0.0,
) -> Response:
    """What the application wrote to its standard output and error on this host; with follow what comes, too."""
    agent = agent_of(request)
    places = agent.services.apps.places(agent.guests.by_name(name).guest_here())
    plain = "text/plain; charset=utf-8"
    since = app_log.stamp(clock.wall_s() - last_s) if last_s else ""
    if follow:
        return StreamingResponse(app_log.follow(places.logs, lines, since), media_type=plain)
    return Response(app_log.text(places.logs, lines, since), media_type=plain)


def _no_room(folder: Path, error: OSError) -> Refused:
    return Refused(
        what="the image is not taken in",
        why=f"it cannot be written to {folder}: {error.strerror}",
        todo="Free some room there, then try again.",
        kind=Kind.CONFLICT,
    )


def _moving() -> Refused:
    return Refused(
        what="no image is taken away",
        why="a guest is on its way to this host or from it, and may need one",
        todo="Try again once it is there.",
        kind=Kind.CONFLICT,
    )
