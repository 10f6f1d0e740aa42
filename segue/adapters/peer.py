"""Speaks to the agent of another host: mutual TLS, and the certificate must name that very host."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from segue.adapters import clock
from segue.adapters.net import speed
from segue.errors import Kind, Refused
from segue.model.arrival import Presence
from segue.model.handoff import Message
from segue.model.host import HostFacts
from segue.model.integrity import Blocks, Digests
from segue.model.landing import Landing, Placement
from segue.model.notice import Arrival, Care
from segue.model.storage import DiskFile, DiskProgress, Layer, Look, Sight
from segue.wire import problem
from segue.wire.messages import Claim, Delivery, pack

T = TypeVar("T")

CALL_S = 5.0
ARRIVED_S = 1.0
"""One quick try: it is said once more when the late frames are through."""
PLACE_S = 60.0
LAYERS_S = 600.0
"""A file of 500 GB is read in this time by storage that is not slow."""
REOPEN_S = 20.0
PATIENT_S = 15.0
"""An agent that is restarted answers again within seconds; what is safe to repeat is repeated for this long."""
AGAIN_LEAST_S = 0.1
AGAIN_MOST_S = 2.0
DEAF_MS = 5_000
"""A host that acknowledges nothing for this long does not hear us."""
CLOCK_ROUNDS = 8
SPEED_PROBE_BYTES = 8 << 20


class PeerClient:
    """One other agent. Errors: SegueError (its word), ConnectionError or TimeoutError (no word)."""

    def __init__(
        self, session: aiohttp.ClientSession, name: str, url: str, demand: Callable[[str], None]
    ) -> None:
        """demand: raises Refused for a host that is barred, over a connection that stands already, too."""
        self._session = session
        self._demand = demand
        self.name = name
        self.url = self._url = url.rstrip("/")

    async def facts(self) -> HostFacts:
        """What the host says it can do."""
        return msgspec.json.decode(await self._call("GET", "/v1/host"), type=HostFacts)

    async def place(self, placement: Placement) -> Landing:
        """Has an empty paused copy made there; the same answer when it is asked again."""
        path = f"/v1/peer/incoming/{placement.guest.uuid}"
        return msgspec.json.decode(
            await self._patiently("PUT", path, placement, within_s=PLACE_S), type=Landing
        )

    async def awake(self, guest: str, migration: str) -> None:
        """Returns once it answers; an agent that is restarted is waited for. The guest is to go first there."""
        await self._patiently("GET", f"/v1/peer/clock?coming={guest}&migration={migration}")

    async def place_storage(self, placement: Placement) -> Landing:
        """Has empty disks made there; the same answer when it is asked again."""
        path = f"/v1/peer/storage/{placement.guest.uuid}"
        answer = await self._patiently("PUT", path, placement, within_s=PLACE_S)
        return msgspec.json.decode(answer, type=Landing)

    async def layers_sent(self, guest: str, migration: str, layers: tuple[Layer, ...]) -> None:
        """Has what lies below the disks compared and put into place: about 1 s per GB."""
        await self._patiently(
            "POST", f"/v1/peer/storage/{guest}/{migration}/layers", layers, within_s=LAYERS_S
        )

    async def pulled(self, guest: str) -> tuple[DiskProgress, bool]:
        """How much of the disks that we lend is there, and whether all of it is."""
        answer = await self._call("GET", f"/v1/peer/storage/{guest}/pulled")
        return msgspec.json.decode(answer, type=tuple[DiskProgress, bool])

    async def close_storage(self, guest: str, migration: str) -> None:
        """Returns when all that was written there is in the files."""
        await self._call("POST", f"/v1/peer/storage/{guest}/{migration}/close")

    async def look(self, marker: str, paths: list[str], whole: list[str]) -> dict[str, Sight]:
        """What the peer sees at these paths; of `whole` it reads everything, about 1 s per GB."""
        wish = Look(marker, tuple(paths), tuple(whole))
        answer = await self._call("POST", "/v1/peer/look", wish, within_s=LAYERS_S)
        return msgspec.json.decode(answer, type=dict[str, Sight])

    async def deliver(self, guest: str, message: Message, *, resumed_at_s: float = 0.0) -> Delivery:
        """Delivers a word of the handoff about the guest with this uuid."""
        body = Delivery(messages=(pack(message),), resumed_at_s=resumed_at_s)
        answer = await self._call("POST", f"/v1/peer/messages/{guest}", body)
        return msgspec.json.decode(answer, type=Delivery)

    async def arrival(self, guest: str, migration: str, loaded_within_s: float = 0.0) -> Presence:
        """How much of a guest is there that may run before its memory; waits for its devices if told to."""
        path = f"/v1/peer/arrivals/{guest}/{migration}?loaded_within_s={loaded_within_s:.3f}"
        answer = await self._call("GET", path, within_s=CALL_S + loaded_within_s)
        return msgspec.json.decode(answer, type=Presence)

    async def reopen(self, guest: str, migration: str) -> str:
        """Has it listen for another connection; host:port."""
        path = f"/v1/peer/arrivals/{guest}/{migration}/reopen"
        return msgspec.json.decode(await self._call("POST", path, within_s=REOPEN_S), type=str)

    async def memory_lost(self, guest: str, migration: str) -> Presence:
        """Tells that the memory which was still here is gone; what became of the guest there."""
        path = f"/v1/peer/arrivals/{guest}/{migration}/lost"
        answer = await self._call("POST", path, within_s=REOPEN_S)
        return msgspec.json.decode(answer, type=Presence)

    async def settled(self, guest: str, migration: str) -> None:
        """Tells that the tunnel of this migration is not needed any more."""
        await self._call("POST", f"/v1/peer/settled/{guest}/{migration}")

    async def digest(self, guest: str, blocks: Blocks, within_s: float) -> Digests:
        """What these parts of the complete copy there hold."""
        answer = await self._call("POST", f"/v1/peer/digest/{guest}", blocks, within_s=within_s)
        return msgspec.json.decode(answer, type=Digests)

    async def digest_disks(
        self, guest: str, migration: str, disks: tuple[DiskFile, ...], within_s: float
    ) -> dict[str, Digests]:
        """What is in each of these disks, which were copied there."""
        path = f"/v1/peer/storage/{guest}/{migration}/digest"
        answer = await self._call("POST", path, disks, within_s=within_s)
        return msgspec.json.decode(answer, type=dict[str, Digests])

    async def arrived(self, guest: str, arrival: Arrival) -> None:
        """The guest runs there: it is told, and its clock is looked after. Said twice, done once."""
        await self._call("POST", f"/v1/peer/arrived/{guest}", arrival, within_s=ARRIVED_S)

    async def care(self, guest: str, migration: str, within_s: float) -> Care:
        """What became of that; waits for its end at most `within_s`."""
        path = f"/v1/peer/care/{guest}/{migration}?within_s={within_s:g}"
        return msgspec.json.decode(await self._call("GET", path, within_s=within_s + CALL_S), type=Care)

    async def grants_lease(self, within_s: float) -> bool:
        """Whether guests on our host may run on, as far as it goes by that one."""
        return msgspec.json.decode(await self._call("POST", "/v1/peer/lease", within_s=within_s), type=bool)

    async def lead(self, network: str, macs: list[str]) -> None:
        """Tells that these cards of an overlay network are on our host now."""
        await self._call("POST", f"/v1/peer/networks/{network}", macs)

    async def flows(self, guest: str, migration: str, flows: list[bytes]) -> None:
        """Has the guest's connections made known to the firewall there."""
        await self._call("POST", f"/v1/peer/flows/{guest}/{migration}", flows)

    async def claim(self, guest: str, mine: int = 0, known: str = "") -> Claim:
        """What the peer has of the guest with this uuid. mine: the epoch at which we own it and have not run it yet.
        known: a digest of the hosts that we know."""
        path = f"/v1/peer/claims/{guest}?mine={mine}&known={known}"
        return msgspec.json.decode(await self._call("GET", path), type=Claim)

    async def sees_storage(self, paths: list[str]) -> dict[str, str]:
        """For each path a mark of the storage behind it there; empty where it is not seen."""
        answer: dict[str, str] = msgspec.json.decode(await self._call("POST", "/v1/peer/storage", paths))
        return answer

    async def clock(self) -> tuple[float, float]:
        """(offset, uncertainty) of the peer's wall clock: Cristian's method, best of several rounds."""
        await self._patiently("GET", "/v1/peer/clock")
        best = (0.0, float("inf"))
        for _ in range(CLOCK_ROUNDS):
            sent_s = clock.wall_s()
            there_s = float(await self._call("GET", "/v1/peer/clock"))
            received_s = clock.wall_s()
            half_s = (received_s - sent_s) / 2
            best = min(best, (there_s - (sent_s + half_s), half_s), key=lambda pair: pair[1])
        return best

    async def speed_bytes_per_s(self, host: str) -> float:
        """The path's speed to `host`, the peer's address, as one plain TCP stream shows it. Raises Refused where the
        agents hear each other, and nothing comes through on a port of its own, as a guest's memory has to."""
        answer = await self._call("POST", "/v1/peer/speed")
        opening = msgspec.json.decode(answer, type=speed.Opening | None)
        if opening is None:
            return await self._speed_by_body()
        try:
            return await speed.measure_bytes_per_s(host, opening)
        except OSError as error:  # TimeoutError, too.
            raise Refused(
                what=f"{self.name} cannot be reached with a guest's memory",
                why=f"port {opening.port} of {host} was opened for it there, and does not take it: "
                f"{str(error) or 'nothing came through in time'}",
                todo="Look at firewalls between the hosts (docs/reference/ports.md has the ports), and at the link.",
                kind=Kind.UNREACHABLE,
            ) from error

    async def _speed_by_body(self) -> float:
        """An agent of 0.1 only swallows what it is sent: slower than the path, where that is fast."""
        body = os.urandom(SPEED_PROBE_BYTES)
        begun_s = clock.steady_s()
        await self._call("POST", "/v1/peer/speed", body, within_s=20.0)
        return SPEED_PROBE_BYTES / max(clock.steady_s() - begun_s, 1e-6)

    async def _patiently(
        self, method: str, path: str, body: object = None, *, within_s: float = CALL_S
    ) -> bytes:
        until_s, pause_s = clock.steady_s() + PATIENT_S, AGAIN_LEAST_S
        while True:
            try:
                return await self._call(method, path, body, within_s=within_s)
            except (ConnectionError, TimeoutError):
                if clock.steady_s() >= until_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MOST_S)

    async def _call(self, method: str, path: str, body: object = None, *, within_s: float = CALL_S) -> bytes:
        self._demand(self.name)
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        try:
            async with (
                asyncio.timeout(within_s),
                self._session.request(
                    method, self._url + path, data=data, server_hostname=self.name
                ) as answer,
            ):
                content = await answer.read()
                if answer.status >= 400:
                    raise problem.error_of(content, self.name)
                return content
        except aiohttp.ClientSSLError as error:
            raise _not_trusted(self.name, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(
                f"{self.name} does not answer: {str(error) or type(error).__name__}"
            ) from error
        except TimeoutError as error:
            raise TimeoutError(f"{self.name} did not answer within {within_s:g} s") from error


def session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    """Connections that stay open: in the blackout there is no time for a handshake."""
    connector = aiohttp.TCPConnector(
        ssl=context, keepalive_timeout=300, limit_per_host=8, socket_factory=_watched_socket
    )
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(sock_connect=3.0))


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A connection that ends by itself when the other host does not hear us any more.

    Without this a call over a link that was cut would wait for its own limit, which is long where a call may
    take long, and a connection that was kept open would be tried first when the link is mended.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_MS)
    return made


def _not_trusted(name: str, error: Exception) -> Refused:
    return Refused(
        what=f"{name} is not trusted",
        why=f"its certificate is not one of this fleet for that name: {error}",
        todo=f"Look whether {name}'s address is right and its certificate valid.",
        kind=Kind.AUTH,
    )


def expired_on(certificate: str) -> str:
    """The day on which a certificate's time was over, empty while it lasts.

    The other side ends the connection without a word that we could hear, so we have to look at our own.
    """
    from cryptography import x509  # Large, and asked for only when something is wrong.

    try:
        ends = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return ""  # What cannot be read explains nothing, and must not hide why the other side is silent.
    return ends.strftime("%Y-%m-%d %H:%M UTC") if ends < datetime.now(UTC) else ""
