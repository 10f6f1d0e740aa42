"""The service that a guest finds at 169.254.169.254: what awaits it, and how it says that it is ready.

Who asks is known by the cable that the question came through, never by an address. Whatever comes from a guest is
bounded: in size, in number and in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pyroute2.netlink.exceptions import NetlinkError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from segue.adapters import clock
from segue.adapters.http.problems import show_bad_input, show_error
from segue.adapters.net.enclave import Enclave
from segue.adapters.net.steering import tap_name
from segue.agent.boards import Boards
from segue.errors import Kind, Refused, SegueError
from segue.model.guest import Guest
from segue.model.notice import Board, Maintenance, NoticeState, Subscription

log = structlog.get_logger()

FLAVOR = "Metadata-Flavor"
OURS = "segue"
POLL_S = 60.0
POLL_S_MAX = 600.0
LEAD_S_MAX = 86_400.0
CONNECTIONS_MAX = 32
"""Of one guest; more are told to come again."""

router = APIRouter()
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Metadata:
    """One listener for each network card of each guest on this host."""

    def __init__(self, enclave: Enclave, boards: Boards) -> None:
        self._enclave = enclave
        self._boards = boards
        self._servers: dict[str, asyncio.Server] = {}
        self._is_open = False

    async def open(self) -> None:
        """Once, at the agent's start. A host where it cannot be made has guests without this service."""
        try:
            await self._enclave.open()
            self._is_open = True
        except OSError as error:
            log.warning("guests get no notice service", why=str(error))

    async def attach(self, guest: Guest) -> None:
        """Serves this guest. What goes wrong here must never keep a guest from running: it is logged."""
        if not self._is_open:
            return
        for nic in guest.nics:
            tap = tap_name(guest.name, nic)
            try:
                await self._serve(tap, guest.uuid)
            except Exception as error:  # noqa: BLE001 - whatever it is, the guest runs without the service
                log.warning("no notice service for a guest", guest=guest.name, tap=tap, why=repr(error))

    async def _serve(self, tap: str, uuid: str) -> None:
        await self._close(tap)
        listening = await self._enclave.plug(tap)
        config = uvicorn.Config(
            application(self._boards, uuid),
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS_MAX,
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        self._servers[tap] = await loop.create_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}), sock=listening
        )

    def serves(self, guest: Guest) -> bool:
        """True where all its cards have the service, or where there is none at all."""
        return not self._is_open or all(tap_name(guest.name, nic) in self._servers for nic in guest.nics)

    async def lead(self, ways: Mapping[str, str], *, back: bool) -> None:
        """The guest is found behind another tap as well, or, with `back`, behind that one from now on.

        Connections that it has live on.
        """
        for tap, other in ways.items() if self._is_open else ():
            try:
                await self._enclave.lead(tap, other, back=back)
            except (NetlinkError, OSError) as error:
                log.warning("no notice service behind a tap", tap=other, why=repr(error))

    async def detach(self, guest: Guest) -> None:
        """The guest is not here any more; one that never was is no error."""
        for nic in guest.nics:
            tap = tap_name(guest.name, nic)
            await self._close(tap)
            if self._is_open:
                await self._enclave.unplug(tap)

    async def _close(self, tap: str) -> None:
        server = self._servers.pop(tap, None)
        if server is not None:
            server.close()


def application(boards: Boards, uuid: str) -> FastAPI:
    """The service as this one guest sees it."""
    made = FastAPI(title="segue notice service", docs_url=None, redoc_url=None, openapi_url=None)
    made.state.boards, made.state.guest = boards, uuid
    made.include_router(router)
    made.add_exception_handler(SegueError, show_error)
    made.add_exception_handler(RequestValidationError, show_bad_input)
    return made


@router.get("/v1/maintenance-event")
async def maintenance_event(
    request: Request,
    response: Response,
    wait_for_change: bool = False,
    last_etag: Annotated[str, Query(max_length=64)] = "",
    timeout_sec: Annotated[float, Query(ge=0, le=POLL_S_MAX)] = POLL_S,
) -> dict[str, Any]:
    """What awaits this guest; with `wait_for_change` only when that is not what `last_etag` was."""
    boards, uuid = _known(request)
    until_s = clock.steady_s() + timeout_sec
    while (
        wait_for_change and boards.of(uuid).etag == last_etag and (left_s := until_s - clock.steady_s()) > 0
    ):
        await boards.changed(uuid, left_s)
    board = boards.of(uuid)
    response.headers["ETag"] = board.etag
    return _event(board)


@router.api_route("/v1/subscriptions/{name}", methods=["PUT", "POST"])
async def subscribe(
    request: Request, name: Name, lead_s: Annotated[float, Query(ge=0, le=LEAD_S_MAX)]
) -> dict[str, Any]:
    """Registers a program of this guest: it wants so many seconds before the guest is moved."""
    boards, uuid = _known(request)
    return _event(boards.subscribe(uuid, Subscription(name, lead_s)))


@router.delete("/v1/subscriptions/{name}")
async def unsubscribe(request: Request, name: Name) -> dict[str, Any]:
    """Takes a registration back."""
    boards, uuid = _known(request)
    return _event(boards.unsubscribe(uuid, name))


@router.api_route("/v1/subscriptions/{name}/ready", methods=["PUT", "POST"])
async def ready(request: Request, name: Name) -> dict[str, Any]:
    """The program has done what it wanted to do: nobody waits for it any longer."""
    boards, uuid = _known(request)
    return _event(boards.answer(uuid, name))


def _known(request: Request) -> tuple[Boards, str]:
    """A page or a proxy that was tricked into asking sends no header of ours, or one of its own."""
    if request.headers.get(FLAVOR) != OURS or "x-forwarded-for" in request.headers:
        raise Refused(
            what="the question is refused",
            why=f"it has no header {FLAVOR}: {OURS}, or it came through a proxy",
            todo=f"Ask directly, with the header {FLAVOR}: {OURS}.",
            kind=Kind.AUTH,
        )
    state = request.app.state
    return state.boards, state.guest


def _event(board: Board) -> dict[str, Any]:
    pending = board.event is Maintenance.MIGRATE
    left_s = max(0.0, board.begins_at_s - clock.wall_s()) if pending else 0.0
    return {
        "event": board.event.value,
        "state": board.state.value,
        "migration": board.migration,
        "begins_at": board.begins_at_s if board.state is not NoticeState.NONE else 0.0,
        "seconds_left": round(left_s, 1),
        "subscriptions": {one.name: one.lead_s for one in board.subscriptions},
        "ready": list(board.ready),
        "etag": board.etag,
    }
