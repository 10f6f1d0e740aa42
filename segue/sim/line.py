"""The connection that an agent keeps to a controller, without sockets: in order, and broken as TCP's are.

Both ends are the real programs: agent/link.py on one side, controller/links.py on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from starlette.websockets import WebSocket

from segue.adapters.http.access import LOCAL, Caller
from segue.agent.link import CONNECT_S, Opened
from segue.sim import door
from segue.sim import loop as virtual
from segue.sim.fabric import OUTSIDE
from segue.sim.loop import Life
from segue.wire.link import SILENCE_S

if TYPE_CHECKING:
    from segue.controller.links import Links
    from segue.sim.fabric import Fabric
    from segue.sim.host import SimHost

LOOK_S: Final = 1.0
PONG_S: Final = 1.5
"""In shares of the silence: as aiohttp waits for a pong."""
GONE: Final = {"type": "websocket.disconnect", "code": 1006}


class _Way:
    """One direction: what was sent first arrives first, or the line breaks."""

    def __init__(
        self,
        fabric: Fabric,
        source: str,
        target: str,
        arrive: Callable[[Any], None],
        broken: Callable[[], None],
    ) -> None:
        self._fabric, self._ends = fabric, (source, target)
        self._arrive, self._broken = arrive, broken
        self._sent = self._arrived = 0
        self._early: dict[int, Any] = {}

    def send(self, message: Any) -> None:
        """Returns at once."""
        number, self._sent = self._sent, self._sent + 1
        self._fabric.post(*self._ends, lambda: self._came(number, message), self._broken)

    def _came(self, number: int, message: Any) -> None:
        self._early[number] = message
        while self._arrived in self._early:
            self._arrive(self._early.pop(self._arrived))
            self._arrived += 1


class Line:
    """One connection from a host's agent to a controller."""

    def __init__(self, host: SimHost, controller: str) -> None:
        self._fabric = host.world.fabric
        self._host, self._name = host, controller
        self._to_agent: asyncio.Queue[aiohttp.WSMessage] = asyncio.Queue()
        self._to_controller: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._up = _Way(self._fabric, host.name, controller, self._to_controller.put_nowait, self._break)
        self._down = _Way(self._fabric, controller, host.name, self._to_agent.put_nowait, self._break)
        self._agent, self._controller = host.process, self._fabric.nodes[controller].process
        self._open = True

    async def open(self, links: Callable[[], Links]) -> None:
        """Raises ConnectionError, TimeoutError."""

        async def accept() -> None:
            caller = Caller("host", self._host.name, "1")
            process = virtual.current()
            assert process is not None
            process.start(
                self._host.world.loop, links().serve(self._server(), caller), f"line to {caller.name}"
            )

        async with asyncio.timeout(CONNECT_S):
            await self._fabric.ask(self._host.name, self._name, accept)
        self._watch()

    def _server(self) -> WebSocket:
        self._to_controller.put_nowait({"type": "websocket.connect"})

        async def send(message: Any) -> None:
            virtual.demand_alive()
            if message["type"] == "websocket.send":
                self._down.send(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, message["text"], None))
            elif message["type"] == "websocket.close":
                why = message.get("reason", "")
                self._down.send(aiohttp.WSMessage(aiohttp.WSMsgType.CLOSE, message["code"], why))

        return WebSocket({"type": "websocket", "path": "/v1/link"}, self._to_controller.get, send)

    # The agent's end, as aiohttp has it

    async def send_str(self, text: str) -> None:
        """See aiohttp."""
        virtual.demand_alive()
        if not self._open:
            raise ConnectionResetError("the line is broken")
        self._up.send({"type": "websocket.receive", "text": text})

    async def receive(self) -> aiohttp.WSMessage:
        """See aiohttp; a controller that does not even answer a ping is given up."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_S * PONG_S):
                    return await self._to_agent.get()
            except TimeoutError:
                if not self._answers():
                    return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, "no answer to a ping")

    def _answers(self) -> bool:
        both = self._fabric.joins(self._host.name, self._name) and self._fabric.joins(
            self._name, self._host.name
        )
        return both and self._controller is not None and self._controller.life is Life.RUNNING

    # Its end

    def close(self) -> None:
        """The agent hangs up."""
        if self._open:
            self._open = False
            self._up.send(GONE)

    def _break(self) -> None:
        """What was sent never arrives: both ends see it."""
        if self._open:
            self._open = False
            self._to_agent.put_nowait(aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, "the line is broken"))
            self._to_controller.put_nowait(GONE)

    def _watch(self) -> None:
        """The kernel of a machine whose program died says so to the other end, if it can."""
        if not self._open:
            return
        one, other = (self._host.name, self._agent), (self._name, self._controller)
        for (here, process), (there, _) in ((one, other), (other, one)):
            dead = process is None or process.life is Life.DEAD
            if dead and self._fabric.nodes[here].powered and self._fabric.joins(here, there):
                self._break()
                return
        self._host.world.loop.call_later(LOOK_S, self._watch, context=OUTSIDE.context)


class _Reply:
    def __init__(self, reply: door.Reply) -> None:
        self.status, self._body = reply.status, reply.body

    async def text(self) -> str:
        return self._body.decode()


class _Api:
    """The agent's own API, as aiohttp would call it over the local socket."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    @contextlib.asynccontextmanager
    async def request(self, method: str, url: str, *, data: Any, headers: Any) -> AsyncIterator[_Reply]:
        path = url.removeprefix("http://agent")
        yield _Reply(await self._host.answer(LOCAL, method, path, (data or "").encode(), headers))


@contextlib.asynccontextmanager
async def dialled(host: SimHost, controller: str, links: Callable[[], Links]) -> AsyncIterator[Opened]:
    """For `Way.dial` of agent/link.py."""
    line = Line(host, controller)
    await line.open(links)
    try:
        yield cast(Opened, (line, _Api(host)))
    finally:
        line.close()
