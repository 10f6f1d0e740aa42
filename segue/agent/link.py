"""The connection that the agent keeps to the controller that leads: it reports what is so here, and obeys its commands.

It must never obey an epoch older than the highest it ever heard: that one stands in the journal before it is obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import structlog

from segue.adapters import chance, clock
from segue.agent import told
from segue.agent.renewal import Renewal
from segue.agent.told import Told
from segue.errors import SegueError
from segue.model import trace
from segue.model.roster import CONTROLLER_NAME, Decided
from segue.model.trust import SignedBarred
from segue.policy import leadership, membership
from segue.wire import link
from segue.wire.frames import Problem

log = structlog.get_logger()

CONNECT_S: Final = 5.0
REACH_S: Final = 1.5
"""A machine that is there takes a connection within this, even if its first packet is lost; one that is dead would hold
an agent up that looks for the next leader."""
AGAIN_LEAST_S: Final = 0.2
AGAIN_MOST_S: Final = 5.0
SLOWER: Final = 1.25
"""Each pause is so much longer than the last."""
SHUN_S: Final = 10.0
"""A controller's machine that could not be reached is left out for so long, where there is another one to ask."""
CALL_S: Final = 700.0
COMMANDS_MOST: Final = 64


class Here(told.Here, Protocol):
    """What the link needs of the agent."""

    def epoch(self) -> int:
        """The highest epoch of a leader that was ever obeyed."""
        ...

    def obey(self, epoch: int) -> None:
        """From now on nothing lower; durable when it returns."""
        ...

    def meet(self, peers: dict[str, str]) -> None:
        """Where the other hosts are."""
        ...

    def barred(self) -> SignedBarred | None:
        """The list of those whom this host refuses."""
        ...

    def bar(self, signed: SignedBarred) -> None:
        """A newer list, if the CA has signed it."""
        ...

    def decided(self) -> Decided | None:
        """What a controller said was decided of this host."""
        ...

    def keep(self, decided: Decided) -> None:
        """Keeps that for a controller that has lost its store."""
        ...

    def fleet(self) -> str:
        """The id of the fleet that this host belongs to; empty: none yet."""
        ...

    def belong(self, fleet: str) -> None:
        """From now on to that one; durable when it returns."""
        ...

    def foreign(self, url: str, why: str) -> None:
        """That controller is none of this host's fleet, and why; no word: it is."""
        ...

    async def change(self, within_s: float) -> None:
        """Returns when something may have changed, or that much time is over."""
        ...


Opened = tuple[aiohttp.ClientWebSocketResponse, aiohttp.ClientSession]
Dial = Callable[[str], AbstractAsyncContextManager[Opened]]


@dataclass(frozen=True)
class Way:
    """How the controllers are reached, and the socket of this agent's own API."""

    controllers: tuple[str, ...]
    tls: Callable[[], ssl.SSLContext]
    own_socket: Path
    own_url: str
    labels: dict[str, str]
    dial: Dial | None = None
    """Another way to a controller and to this agent's own API, where there is no network."""
    renewal: Renewal | None = None
    """None: the certificate is somebody else's business."""


class Refusal(Exception):
    """The other side does not want us, or we do not want it."""


class Foreign(Refusal):
    """The controller is one of another fleet: it gets no word of us, and none of its words is heeded."""


async def keep(way: Way, here: Here) -> None:
    """For as long as the agent lives; without a controller the agent goes on as it is."""
    pause_s, choice = AGAIN_LEAST_S, _Choice(way.controllers)
    while True:
        url = choice.next()
        begun_s = clock.steady_s()
        try:
            await _Link(way, here, url).run()
        except* (aiohttp.ClientError, OSError, TimeoutError, Refusal, SegueError) as errors:
            error = errors.exceptions[0]
            say = log.error if isinstance(error, Foreign) else log.info
            say("no connection to the controller", url=url, why=str(error) or type(error).__name__)
            if isinstance(error, Foreign):
                here.foreign(url, str(error))
            if not isinstance(error, Refusal | SegueError):
                choice.shun(url)
        _demand_wanted()
        lasted = clock.steady_s() - begun_s > AGAIN_MOST_S
        pause_s = AGAIN_LEAST_S if lasted else min(AGAIN_MOST_S, pause_s * SLOWER)
        # All agents of a fleet lose their controller at the same instant: they must not come back at one.
        await asyncio.sleep(pause_s * chance.between(0.5, 1.0))


class _Choice:
    """Which controller is asked next: one after the other, those last that could not be reached a moment ago."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._urls = urls
        self._number = -1
        self._shunned_s: dict[str, float] = {}

    def next(self) -> str:
        """Never none."""
        now_s = clock.steady_s()
        for _ in self._urls:
            self._number += 1
            url = self._urls[self._number % len(self._urls)]
            if now_s - self._shunned_s.get(url, float("-inf")) >= SHUN_S:
                return url
        self._number += 1
        return self._urls[self._number % len(self._urls)]

    def shun(self, url: str) -> None:
        """It could not be reached."""
        self._shunned_s[url] = clock.steady_s()


def _demand_wanted() -> None:
    """Python's TaskGroup forgets a cancel that comes while it ends with an error (mended in 3.13)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Link:
    """One connection."""

    def __init__(self, way: Way, here: Here, url: str) -> None:
        self._way = way
        self._here = here
        self._url = url.rstrip("/")
        self._told = Told()
        self._slots = asyncio.Semaphore(COMMANDS_MOST)
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until it ends."""
        dial = self._way.dial or self._dial
        async with dial(self._url) as (socket, api), asyncio.TaskGroup() as group:
            renews = await self._hello(socket)
            working = [group.create_task(self._report(socket))]
            if renews and self._way.renewal:
                renewing = self._way.renewal.run(lambda it: self._send(socket, it))
                working.append(group.create_task(renewing))
            try:
                await self._obey(socket, api, group)
            finally:
                for task in working:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _dial(self, url: str) -> AsyncIterator[Opened]:
        own = aiohttp.UnixConnector(str(self._way.own_socket))
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._way.tls()),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=REACH_S),
            ) as session,
            aiohttp.ClientSession(connector=own) as api,
        ):
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    f"{url}/v1/link",
                    server_hostname=CONTROLLER_NAME,
                    max_msg_size=link.FRAME_BYTES,
                    heartbeat=link.DEAF_S * 2 / 3,  # and a third for the answer
                )
            async with socket:
                yield socket, api

    async def _hello(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """True where the controller renews certificates."""
        here = self._here
        changes = self._told.changes(here)
        assert changes.facts is not None
        hello = link.Hello(
            link.LINK_VERSION,
            here.epoch(),
            self._way.own_url,
            changes.facts,
            self._way.labels,
            changes.guests,
            changes.migrations,
            here.barred(),
            here.decided(),
            here.fleet(),
        )
        await self._send(socket, hello)
        frame = await self._receive(socket)
        if not isinstance(frame, link.Welcome):
            raise Refusal("it did not answer with a welcome")
        self._welcomed(frame)
        log.info("connected to the controller", url=self._url, epoch=frame.epoch)
        return frame.renews

    def _welcomed(self, frame: link.Welcome) -> None:
        belongs = self._here.fleet()
        if not membership.heeds(belongs, frame.fleet, frame.succeeds):
            raise Foreign(membership.why_not(belongs, frame.fleet))
        if not self._heeds(frame.epoch):
            raise Refusal(f"its epoch {frame.epoch} is older than {self._here.epoch()}")
        if frame.fleet and frame.fleet != belongs:
            self._here.belong(frame.fleet)
        self._here.foreign(self._url, "")
        self._here.meet(frame.peers)
        if frame.barred is not None:
            self._here.bar(frame.barred)
        if frame.decided is not None and frame.decided != self._here.decided():
            self._here.keep(frame.decided)

    def _heeds(self, epoch: int) -> bool:
        if not leadership.heeds(self._here.epoch(), epoch):
            return False
        if epoch > self._here.epoch():
            self._here.obey(epoch)
        return True

    async def _obey(
        self, socket: aiohttp.ClientWebSocketResponse, api: aiohttp.ClientSession, group: asyncio.TaskGroup
    ) -> None:
        while True:
            frame = await self._receive(socket)
            if isinstance(frame, link.Welcome):
                self._welcomed(frame)
            elif isinstance(frame, link.Renewed):
                if self._way.renewal is not None:
                    self._way.renewal.answered(frame)
            else:
                await self._slots.acquire()
                group.create_task(self._carry_out(socket, api, frame))

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> link.FromController:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            is_foreign = message.type is aiohttp.WSMsgType.CLOSE and message.data == link.FOREIGN
            raise (Foreign if is_foreign else Refusal)(str(message.extra or "it hung up"))
        return link.from_controller(message.data)

    async def _carry_out(
        self, socket: aiohttp.ClientWebSocketResponse, api: aiohttp.ClientSession, command: link.Command
    ) -> None:
        try:
            answer = await self._answer(api, command)
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self._send(socket, answer)
        finally:
            self._slots.release()

    async def _answer(self, api: aiohttp.ClientSession, command: link.Command) -> link.Answer:
        """The answer of this agent's own API: a command is nothing else than a call of it."""
        if not self._heeds(command.epoch):
            return _no(command, f"epoch {command.epoch} is older than {self._here.epoch()}, which was obeyed")
        if not command.path.startswith("/v1/") or command.path.startswith("/v1/peer"):
            return _no(command, f"{command.path} is not for controllers")
        try:
            async with (
                asyncio.timeout(CALL_S),
                api.request(
                    command.method,
                    f"http://agent{command.path}",
                    data=command.body or None,
                    headers=_headers(command),
                ) as answer,
            ):
                return link.Answer(command.number, answer.status, await answer.text())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _no(command, f"its own API does not answer: {str(error) or type(error).__name__}")

    async def _report(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """What changed, and at least a sign of life."""
        while True:
            await self._send(socket, self._told.changes(self._here, load=True))
            await self._here.change(link.BEAT_S)

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, frame: link.FromAgent) -> None:
        async with self._sending, asyncio.timeout(link.SILENCE_S):
            await socket.send_str(link.encode(frame).decode())


def _headers(command: link.Command) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    return {**headers, trace.HEADER: command.traceparent} if command.traceparent else headers


def _no(command: link.Command, why: str) -> link.Answer:
    problem = Problem(
        409, "refused", "conflict", f"{command.method} {command.path} was not done", why, "Ask again."
    )
    return link.Answer(command.number, 409, link.encode(problem).decode())
