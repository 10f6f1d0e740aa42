"""The connections that agents keep to the leading controller: reports go to the store, commands go to the agents.

It must never take a host's word for another host, and never send a command without the leader's epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller import fleet
from segue.controller.bars import Bars
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.reports import Reports
from segue.controller.strangers import Stranger, Strangers
from segue.errors import Kind, Refused, SegueError
from segue.model.leadership import Tenure
from segue.model.load import HostLoad
from segue.model.roster import Decided
from segue.policy import bucket
from segue.policy.bucket import Bucket, Rate
from segue.wire import link, problem

log = structlog.get_logger()
Renew = Callable[[Caller, str, str], Awaitable[link.Renewed]]

COMMAND_S: Final = 60.0
FRAMES: Final = Rate(500, 100)
"""Of one agent. It tells changes at most 20 times a second, and answers at most 64 commands at once."""
BEGIN_S: Final = 600.0
"""Before a migration begins, both hosts may have to read whole files."""


class HostAway(Refused):
    """The agent was not asked, or its answer did not come: what it was asked for may have been begun."""


class Connection:
    """One agent, connected."""

    def __init__(self, socket: WebSocket, caller: Caller) -> None:
        self.host = caller.name
        self.caller = caller
        self.address = socket.client.host if socket.client else ""
        self._socket = socket
        self.heard_s = clock.steady_s()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[link.Answer]] = {}
        self.renewing = False
        self.decided: Decided | None = None
        """What its agent was told last."""
        self._frames: Bucket | None = None

    async def send(self, frame: link.FromController) -> None:
        """Sends it."""
        await self.send_text(link.encode(frame).decode())

    async def send_text(self, text: str) -> None:
        """Sends a frame that was encoded for many."""
        await self._socket.send_text(text)

    async def receive(self) -> link.FromAgent:
        """The next frame. Raises TimeoutError after a silence, Refused for what is no frame, or one too many."""
        async with asyncio.timeout(link.SILENCE_S):
            raw = await self._socket.receive_text()
        self.heard_s = clock.steady_s()
        self._frames, may = bucket.take(self._frames, FRAMES, self.heard_s)
        if not may:
            raise _refused(self.host, "it sends more than any agent does", Kind.USAGE)
        return link.from_agent(raw)

    async def ask(
        self, epoch: int, method: str, path: str, body: object, within_s: float, traceparent: str = ""
    ) -> link.Answer:
        """Sends a command, and waits for what becomes of it."""
        number = next(self._numbers)
        answer: asyncio.Future[link.Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        text = "" if body is None else msgspec.json.encode(body).decode()
        try:
            async with asyncio.timeout(within_s):
                await self.send(link.Command(number, epoch, method, path, text, traceparent))
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

    def __init__(self, mirror: Mirror, demand: Callable[[], Tenure], bars: Bars, loads: Loads) -> None:
        self._mirror = mirror
        self._demand = demand
        self._bars = bars
        self._loads = loads
        self._reports: Reports | None = None
        self._renew: Renew | None = None
        self._renewing: set[asyncio.Task[None]] = set()
        self._told = 0
        """The number of the list of the barred that everybody connected has."""
        self._looked = -1
        """Changes of the table of hosts, when what was decided of them was looked at last."""
        self._connections: dict[str, Connection] = {}
        self.highest_seen = 0
        """The highest epoch that any agent has obeyed: after the store was lost, ours may be lower."""
        self.outranked = asyncio.Event()
        self.strangers = Strangers(mirror)

    def open(self, reports: Reports, renew: Renew) -> None:
        """This controller leads now."""
        self.outranked.clear()
        self._loads.begin()
        self._reports, self._renew = reports, renew
        self._told, self._looked = self._bars.now().number, -1

    async def close(self) -> None:
        """It leads no more."""
        self._reports = None
        self._loads.end()
        for connection in list(self._connections.values()):
            await connection.close(link.NOT_LEADING, "another controller leads")
        self._connections.clear()

    def linked(self) -> set[str]:
        """Hosts that are connected here."""
        return set(self._connections)

    def silences_s(self) -> dict[str, float]:
        """For how long nothing has come from each that is connected here."""
        now_s = clock.steady_s()
        return {host: now_s - connection.heard_s for host, connection in self._connections.items()}

    async def call(
        self,
        host: str,
        method: str,
        path: str,
        body: object = None,
        *,
        within_s: float = COMMAND_S,
        traceparent: str = "",
    ) -> Any:
        """What the agent's API answers to this. Raises its error, or Refused where it cannot be asked."""
        connection = self._connections.get(host)
        if connection is None:
            raise _away(host, "its agent is not connected")
        try:
            answer = await connection.ask(self._demand().epoch, method, path, body, within_s, traceparent)
        except (ConnectionError, TimeoutError, RuntimeError, WebSocketDisconnect) as error:
            raise _away(host, str(error) or f"no answer within {within_s:g} s") from error
        if answer.status >= 400:
            raise problem.error_of(answer.body, host)
        return msgspec.json.decode(answer.body) if answer.body else None

    async def serve(self, socket: WebSocket, caller: Caller) -> None:
        """One agent's connection from its beginning to its end."""
        await socket.accept()
        connection = Connection(socket, caller)
        code, why = 1000, ""
        try:
            hello = await connection.receive()
            reports = self._welcome(caller, hello)
            assert isinstance(hello, link.Hello)
            await reports.hello(caller, hello)
            if hello.barred is not None:
                await self._bars.adopt(hello.barred)
            await self._take_in(connection)
            await self._tell(connection, self._peers(caller.name))
            while self._reports is reports:
                await self._heard(connection, reports, await connection.receive())
        except WebSocketDisconnect:
            why = "it hung up"
        except TimeoutError:
            why = "it was silent for too long"
        except SegueError as error:
            code = link.NOT_LEADING if error.kind is Kind.CONFLICT else link.REFUSED
            code = link.FOREIGN if isinstance(error, Stranger) else code
            why = f"{error.what}: {error.why}"
        finally:
            await self._let_go(connection, code, why)

    def _welcome(self, caller: Caller, hello: link.FromAgent) -> Reports:
        """Who may speak, and to whom. Raises Refused."""
        self.demand_welcome(caller)
        if not isinstance(hello, link.Hello) or hello.version != link.LINK_VERSION:
            raise _refused(caller.name, "it did not begin with a hello of this version", Kind.USAGE)
        self.strangers.demand_ours(caller.name, hello.fleet)
        if self._reports is None:
            raise _refused(caller.name, "this controller does not lead", Kind.CONFLICT)
        self.highest_seen = max(self.highest_seen, hello.epoch)
        if hello.epoch + self.strangers.were(hello.fleet) > self._demand().epoch:
            self.outranked.set()
            raise _refused(caller.name, f"it obeyed epoch {hello.epoch} before, ours is lower", Kind.CONFLICT)
        return self._reports

    def demand_welcome(self, caller: Caller) -> None:
        """Raises Refused for a host that was revoked, or that shows an older certificate than its last."""
        self._bars.demand(caller)
        record = self._mirror.hosts.get(caller.name)
        if record is None:
            return
        if record.value.revoked:
            raise _refused(caller.name, "it was removed from the fleet", Kind.AUTH)
        if not record.value.knows(caller.serial):
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
            if frame.load is not None:
                self._loads.take(connection.host, self._own(connection.host, frame.load))
        elif isinstance(frame, link.Renew):
            self._begin_renewal(connection, frame)
        else:
            raise _refused(connection.host, "it said hello twice", Kind.USAGE)

    def _begin_renewal(self, connection: Connection, frame: link.Renew) -> None:
        """Beside its reports, which must not wait for the store; one at a time."""
        if connection.renewing or self._renew is None:
            raise _refused(connection.host, "it asks for one certificate after another", Kind.USAGE)
        connection.renewing = True
        task = asyncio.create_task(self._answer_renewal(connection, self._renew, frame.request))
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)

    async def _answer_renewal(self, connection: Connection, renew: Renew, request: str) -> None:
        try:
            answer = await renew(connection.caller, request, connection.address)
        except SegueError as error:
            answer = link.Renewed(why=error.why)
        connection.renewing = False
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await connection.send(answer)

    async def enforce(self) -> None:
        """After the list of the barred has changed: everybody hears of it, and who is on it is hung up on."""
        now = self._bars.now()
        if now.number == self._told:
            await self._tell_decided()
            return
        self._told = now.number
        for connection in list(self._connections.values()):
            bar = now.find("host", connection.host, connection.caller.serial)
            if bar is not None:
                await connection.close(link.REFUSED, f"it is barred: {bar.why}")
        await self.introduce({})

    async def _tell_decided(self) -> None:
        """To each host of which something else was decided since it was last told.

        Asked after every change of anything: in a fleet of thousands a look at all of them each time took seconds.
        """
        if self._looked == self._mirror.hosts.changes:
            return
        self._looked = self._mirror.hosts.changes
        for connection in list(self._connections.values()):
            record = self._mirror.hosts.get(connection.host)
            if record is not None and record.value.decided != connection.decided:
                with contextlib.suppress(SegueError, RuntimeError, WebSocketDisconnect):
                    await self._tell(connection, self._peers(connection.host))

    def _own(self, host: str, load: HostLoad) -> HostLoad:
        """Of other hosts' guests it has nothing to say."""
        guests = (guest for guest in load.guests if self._mirror.guests.get(f"{host}/{guest.uuid}"))
        return replace(load, guests=tuple(guests))

    async def _let_go(self, connection: Connection, code: int, why: str) -> None:
        log.info("agent's connection ended", host=connection.host, why=why)
        if self._connections.get(connection.host) is connection:
            del self._connections[connection.host]
            self._loads.drop(connection.host)
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
        text = link.encode(self._words(new)).decode()
        for connection in list(self._connections.values()):
            with contextlib.suppress(SegueError, RuntimeError, WebSocketDisconnect):
                if connection.host not in new:
                    await connection.send_text(text)
                elif others := {name: url for name, url in new.items() if name != connection.host}:
                    await connection.send(self._words(others))

    async def _tell(self, connection: Connection, peers: dict[str, str]) -> None:
        record = self._mirror.hosts.get(connection.host)
        connection.decided = record.value.decided if record else None
        await connection.send(self._words(peers, connection.decided))

    def _words(self, peers: Mapping[str, str], decided: Decided | None = None) -> link.Welcome:
        epoch, barred = self._demand().epoch, self._bars.signed()
        own = self._mirror.identity.get("")
        fleet_id, succeeds = (own.value.id, own.value.succeeds) if own else ("", ())
        return link.Welcome(epoch, dict(peers), True, barred, decided, fleet_id, succeeds)


def _away(host: str, why: str) -> HostAway:
    return HostAway(
        what=f"{host} cannot be asked",
        why=why,
        todo=f"Look whether the agent runs on {host}; it connects again by itself.",
        kind=Kind.UNREACHABLE,
    )


def _refused(host: str, why: str, kind: Kind) -> Refused:
    return Refused(
        what=f"the connection of {host} is refused", why=why, todo="Look at the host's agent.", kind=kind
    )
