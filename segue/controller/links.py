"""The connections that agents keep to the leading controller: reports go to the store, commands go to the agents.

It must never take a host's word for another host, and never send a command without the leader's epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from segue.adapters.http.access import Caller
from segue.controller import fleet
from segue.controller.mirror import Mirror
from segue.controller.reports import Reports
from segue.errors import Kind, Refused, SegueError
from segue.model.leadership import Tenure
from segue.wire import link, problem

log = structlog.get_logger()

COMMAND_S: Final = 60.0
BEGIN_S: Final = 600.0
"""Before a migration begins, both hosts may have to read whole files."""


class Connection:
    """One agent, connected."""

    def __init__(self, socket: WebSocket, host: str) -> None:
        self.host = host
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[link.Answer]] = {}

    async def send(self, frame: link.FromController) -> None:
        """Sends it."""
        await self.send_text(link.encode(frame).decode())

    async def send_text(self, text: str) -> None:
        """Sends a frame that was encoded for many."""
        await self._socket.send_text(text)

    async def receive(self) -> link.FromAgent:
        """The next frame. Raises TimeoutError after a silence, Refused for what is no frame."""
        async with asyncio.timeout(link.SILENCE_S):
            return link.from_agent(await self._socket.receive_text())

    async def ask(self, epoch: int, method: str, path: str, body: object, within_s: float) -> link.Answer:
        """Sends a command, and waits for what becomes of it."""
        number = next(self._numbers)
        answer: asyncio.Future[link.Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        text = "" if body is None else msgspec.json.encode(body).decode()
        try:
            async with asyncio.timeout(within_s):
                await self.send(link.Command(number, epoch, method, path, text))
                return await answer
        finally:
            self._asked.pop(number, None)

    def answered(self, answer: link.Answer) -> None:
        """An answer that nobody waits for any more is no error."""
        waiting = self._asked.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def close(self, code: int, why: str) -> None:
        """Hangs up, and fails what was asked."""
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"the connection to {self.host} ended"))
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, why[:100])


class Links:
    """All of them; open only while this controller leads."""

    def __init__(self, mirror: Mirror, demand: Callable[[], Tenure]) -> None:
        self._mirror = mirror
        self._demand = demand
        self._reports: Reports | None = None
        self._connections: dict[str, Connection] = {}
        self.highest_seen = 0
        """The highest epoch that any agent has obeyed: after the store was lost, ours may be lower."""
        self.outranked = asyncio.Event()

    def open(self, reports: Reports) -> None:
        """This controller leads now."""
        self.outranked.clear()
        self._reports = reports

    async def close(self) -> None:
        """It leads no more."""
        self._reports = None
        for connection in list(self._connections.values()):
            await connection.close(link.NOT_LEADING, "another controller leads")
        self._connections.clear()

    def linked(self) -> set[str]:
        """Hosts that are connected here."""
        return set(self._connections)

    async def call(
        self, host: str, method: str, path: str, body: object = None, *, within_s: float = COMMAND_S
    ) -> Any:
        """What the agent's API answers to this. Raises its error, or Refused where it cannot be asked."""
        connection = self._connections.get(host)
        if connection is None:
            raise _away(host, "its agent is not connected")
        try:
            answer = await connection.ask(self._demand().epoch, method, path, body, within_s)
        except (ConnectionError, TimeoutError, RuntimeError, WebSocketDisconnect) as error:
            raise _away(host, str(error) or f"no answer within {within_s:g} s") from error
        if answer.status >= 400:
            raise problem.error_of(answer.body, host)
        return msgspec.json.decode(answer.body) if answer.body else None

    async def serve(self, socket: WebSocket, caller: Caller) -> None:
        """One agent's connection from its beginning to its end."""
        await socket.accept()
        connection = Connection(socket, caller.name)
        code, why = 1000, ""
        try:
            hello = await connection.receive()
            reports = self._welcome(caller, hello)
            assert isinstance(hello, link.Hello)
            await reports.hello(caller, hello)
            await self._take_in(connection)
            await connection.send(link.Welcome(self._demand().epoch, self._peers(caller.name)))
            while self._reports is reports:
                await self._heard(connection, reports, await connection.receive())
        except WebSocketDisconnect:
            why = "it hung up"
        except TimeoutError:
            why = "it was silent for too long"
        except SegueError as error:
            code = link.NOT_LEADING if error.kind is Kind.CONFLICT else link.REFUSED
            why = f"{error.what}: {error.why}"
        finally:
            await self._let_go(connection, code, why)

    def _welcome(self, caller: Caller, hello: link.FromAgent) -> Reports:
        """Who may speak, and to whom. Raises Refused."""
        self.demand_welcome(caller)
        if not isinstance(hello, link.Hello) or hello.version != link.LINK_VERSION:
            raise _refused(caller.name, "it did not begin with a hello of this version", Kind.USAGE)
        if self._reports is None:
            raise _refused(caller.name, "this controller does not lead", Kind.CONFLICT)
        self.highest_seen = max(self.highest_seen, hello.epoch)
        if hello.epoch > self._demand().epoch:
            self.outranked.set()
            raise _refused(caller.name, f"it obeyed epoch {hello.epoch} before, ours is lower", Kind.CONFLICT)
        return self._reports

    def demand_welcome(self, caller: Caller) -> None:
        """Raises Refused for a host that was revoked, or that shows an older certificate than its last."""
        record = self._mirror.hosts.get(caller.name)
        if record is None:
            return
        if record.value.revoked:
            raise _refused(caller.name, "it was removed from the fleet", Kind.AUTH)
        if record.value.serial and record.value.serial != caller.serial:
            raise _refused(caller.name, "it joined again since, with another certificate", Kind.AUTH)

    async def _take_in(self, connection: Connection) -> None:
        older = self._connections.get(connection.host)
        self._connections[connection.host] = connection
        log.info("agent connected", host=connection.host)
        if older is not None:
            await older.close(1000, "a newer connection of the same host")

    async def _heard(self, connection: Connection, reports: Reports, frame: link.FromAgent) -> None:
        if isinstance(frame, link.Answer):
            connection.answered(frame)
        elif isinstance(frame, link.Changes):
            await reports.changes(connection.host, frame)
        else:
            raise _refused(connection.host, "it said hello twice", Kind.USAGE)

    async def _let_go(self, connection: Connection, code: int, why: str) -> None:
        log.info("agent's connection ended", host=connection.host, why=why)
        if self._connections.get(connection.host) is connection:
            del self._connections[connection.host]
            if self._reports is not None:
                with contextlib.suppress(SegueError):
                    await self._reports.gone(connection.host)
        await connection.close(code, why)

    def _peers(self, host: str) -> dict[str, str]:
        return {
            name: report.value.url
            for name, report in self._mirror.reports.items().items()
            if name != host and not fleet.is_revoked(self._mirror, name)
        }

    async def introduce(self, new: Mapping[str, str]) -> None:
        """Tells everybody where hosts are that have come: one frame for all, but for those that are in it."""
        epoch = self._demand().epoch
        text = link.encode(link.Welcome(epoch, dict(new))).decode()
        for connection in list(self._connections.values()):
            with contextlib.suppress(SegueError, RuntimeError, WebSocketDisconnect):
                if connection.host not in new:
                    await connection.send_text(text)
                elif others := {name: url for name, url in new.items() if name != connection.host}:
                    await connection.send(link.Welcome(epoch, others))


def _away(host: str, why: str) -> Refused:
    return Refused(
        what=f"{host} cannot be asked",
        why=why,
        todo=f"Look whether the agent runs on {host}; it connects again by itself.",
        kind=Kind.UNREACHABLE,
    )


def _refused(host: str, why: str, kind: Kind) -> Refused:
    return Refused(
        what=f"the connection of {host} is refused", why=why, todo="Look at the host's agent.", kind=kind
    )
