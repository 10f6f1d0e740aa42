"""Calls to etcd's JSON gateway: finds a member that answers, logs in, keeps to limits.

It must never call a lost answer a failure: what was sent and not answered may be done.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec

from segue.adapters.store.etcd import shapes
from segue.adapters.store.etcd.place import EtcdPlace
from segue.errors import Kind, Refused
from segue.model.store import Away

T = TypeVar("T")
LIMIT_S: Final = 10.0
"""A call ends by then: an election takes about 1.5 s, and two members may be tried before it is over."""
ATTEMPT_S: Final = 2.0
"""A member that says nothing for this long is left for another."""
PAUSE_S: Final = 0.1
LOGINS: Final = 3
NOT_FOUND, FULL, FAILED, OUT_OF_RANGE, UNAUTHENTICATED, DENIED, INVALID = 5, 8, 9, 11, 16, 7, 3
CERTAIN: Final = frozenset({NOT_FOUND, FULL, FAILED, OUT_OF_RANGE, UNAUTHENTICATED, DENIED, INVALID})
"""gRPC codes with which etcd refuses before it proposes anything. All others may come after a proposal."""
STALE: Final = ("invalid auth token", "auth: revision in header is old")
NOBODY: Final = ("authentication failed", "user name is empty", "authentication is not enabled")
NAMED: Final = b"CommonName of client"
"""etcd's answer to a certificate with a common name, where users have to log in: it is no JSON."""
BUSY: Final = "too many requests"


class EtcdError(Exception):
    """etcd's own word: it was not done, for certain."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoAnswer(Exception):
    """Nothing certain came within the limit. `sent`: a member may have got it, and may do it still."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Broken(Exception):
    """One attempt without an answer. `sent`: see NoAnswer. `late`: its time was over, which tells no cause."""

    def __init__(self, why: str, *, sent: bool, late: bool = False) -> None:
        super().__init__(why)
        self.sent = sent
        self.late = late


@dataclass(frozen=True)
class Answer(Generic[T]):
    """`doubtful`: an attempt before this one was sent and not answered; it may be done, too."""

    value: T
    doubtful: bool


class Gateway:
    """One client of an etcd cluster. Every call may be repeated: see words.py for why a commit may."""

    def __init__(self, place: EtcdPlace, limit_s: float, attempt_s: float) -> None:
        self.place = place
        self.limit_s = limit_s
        self.attempt_s = attempt_s
        self._context = place.context()
        self.closed = False
        self._session: aiohttp.ClientSession | None = None
        self._at = 0
        self._token = ""
        self._login = asyncio.Lock()

    async def call(self, path: str, body: dict[str, Any], shape: type[T]) -> Answer[T]:
        """The answer of the first member that gives one. Raises EtcdError, NoAnswer."""
        deadline_s = time.monotonic() + self.limit_s
        sent, logins, why = False, 0, ""
        while (rest_s := deadline_s - time.monotonic()) > 0:
            endpoint = self.endpoint()
            try:
                return Answer(await self.ask(endpoint, path, body, shape, min(self.attempt_s, rest_s)), sent)
            except Broken as error:
                sent = sent or error.sent
                why = why if why and error.late else str(error)
                if self.closed:
                    raise NoAnswer("it was closed", sent=sent) from error
                self.leave(endpoint)
            except asyncio.CancelledError:
                self.leave(endpoint)  # whoever asked has no more time for this member; the next call has
                raise
            except EtcdError as error:
                why = str(error)
                logins += stale(error)
                if not (stale(error) and logins <= LOGINS) and BUSY not in why:
                    if sent:
                        raise NoAnswer(why, sent=True) from error
                    raise
            await asyncio.sleep(min(PAUSE_S, rest_s))
        raise NoAnswer(why, sent=sent)

    def endpoint(self) -> str:
        """The member that calls go to."""
        return self.place.endpoints[self._at % len(self.place.endpoints)]

    def leave(self, endpoint: str) -> None:
        """That member did not answer: the next one is for all calls."""
        if endpoint == self.endpoint():
            self._at += 1

    async def ask(self, endpoint: str, path: str, body: dict[str, Any], shape: type[T], within_s: float) -> T:
        """One attempt at one member. Raises EtcdError, Broken."""
        token = await self.token(endpoint, within_s)
        try:
            return await self._post(endpoint, path, body, shape, within_s, token)
        except EtcdError as error:
            if stale(error):
                self.forget(token)
            raise

    async def token(self, endpoint: str, within_s: float) -> str:
        """The proof of who we are; empty where nobody has to say."""
        if not self.place.user:
            return ""
        async with self._login:
            if not self._token:
                body = {"name": self.place.user, "password": self.place.password()}
                try:
                    answer = await self._post(
                        endpoint, "/v3/auth/authenticate", body, shapes.Token, within_s, ""
                    )
                except Broken as error:
                    raise Broken(str(error), sent=False, late=error.late) from error
                self._token = answer.token
            return self._token

    def forget(self, token: str) -> None:
        """The member does not know this token any more."""
        if token == self._token:
            self._token = ""

    async def _post(
        self, endpoint: str, path: str, body: dict[str, Any], shape: type[T], within_s: float, token: str
    ) -> T:
        headers = {"Authorization": token} if token else {}
        data = msgspec.json.encode(body)
        try:
            async with (
                asyncio.timeout(within_s),
                self.session().post(endpoint + path, data=data, headers=headers) as answer,
            ):
                content = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Broken(f"{endpoint}: {error}", sent=False) from error
        except TimeoutError as error:
            raise Broken(
                f"{endpoint} did not answer within {within_s:.1f} s", sent=True, late=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(f"{endpoint}: {str(error) or type(error).__name__}", sent=True) from error
        return _decoded(endpoint, answer.status, content, shape)

    def session(self) -> aiohttp.ClientSession:
        """Connections that stay open. Raises Broken after `close`."""
        if self.closed:
            raise Broken("it was closed", sent=False)
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._context or False, limit=0, keepalive_timeout=60)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.attempt_s / 2)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    async def close(self) -> None:
        """Ends all connections."""
        self.closed = True
        if self._session is not None:
            await self._session.close()


def _decoded(endpoint: str, status: int, content: bytes, shape: type[T]) -> T:
    try:
        if status == 200:
            return msgspec.json.decode(content, type=shape, strict=False)
        failure = msgspec.json.decode(content, type=shapes.Failure, strict=False)
    except msgspec.MsgspecError as error:
        if NAMED in content:
            raise EtcdError(DENIED, "our certificate has a common name, which etcd does not take") from error
        raise Broken(f"{endpoint} answers as no etcd does: {status} {content[:80]!r}", sent=True) from error
    message = failure.message or failure.error
    if failure.code in CERTAIN:
        raise EtcdError(failure.code, message)
    raise Broken(f"{endpoint}: {message}", sent=True)


def stale(error: EtcdError) -> bool:
    """True where a new log-in may help."""
    return any(text in str(error) for text in STALE)


def closed() -> Away:
    """For calls that come after `close`, or are ended by it."""
    return Away(what="the store etcd cannot be used", why="it was closed", todo="Open it again.")


def told(error: EtcdError | NoAnswer) -> Refused:
    """An error of a call that changed nothing, in words for an operator."""
    if isinstance(error, NoAnswer):
        todo = "Look whether a majority of its members runs and can be reached: `etcdctl endpoint health`."
        return Away(what="the store etcd does not answer", why=str(error), todo=todo, kind=Kind.UNREACHABLE)
    if error.code in {DENIED, UNAUTHENTICATED} or any(text in str(error) for text in NOBODY):
        todo = "Look at user and password-file in the store's URL, and at the role's rights: docs/reference/store.md."
        return Refused(what="etcd does not let us in", why=str(error), todo=todo, kind=Kind.AUTH)
    if error.code == FULL:
        todo = "Compact and defragment it, then clear the alarm: docs/reference/store.md."
        return Away(what="the store etcd is full", why=str(error), todo=todo, kind=Kind.UNREACHABLE)
    return Away(
        what="the store etcd refused", why=str(error), todo="Look at etcd's log.", kind=Kind.UNREACHABLE
    )
