"""What the request probes say and hear: echo, HTTP and Redis, one request at a time on an open connection."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from typing import Final, Protocol
from urllib.parse import urlsplit

from segue.traffic.stream import Stream, WrongAnswer

AT_ONCE: Final = 200
"""Keys that are read back, or removed, in one go."""
NO_BODY: Final = (b"204", b"304")


class Speaker(Protocol):
    """One kind of request; each connection has a speaker of its own."""

    @property
    def lost_writes(self) -> int:
        """Acknowledged writes that were not found again."""

    def ask(self, stream: Stream, number: int) -> None:
        """Send request `number` and take its answer. Raises WrongAnswer, or what the stream raises."""

    def settle(self, stream: Stream) -> None:
        """Called at the end, and again over a new connection if this one breaks: counts the lost writes."""


class TcpEcho:
    """Bytes that have to come back as they are."""

    lost_writes = 0
    size_min: Final = 16

    def __init__(self, size_bytes: int) -> None:
        self._run = os.urandom(8)
        self._filler = bytes(index % 251 for index in range(size_bytes - self.size_min))

    def ask(self, stream: Stream, number: int) -> None:
        request = self._run + number.to_bytes(8, "big") + self._filler
        stream.send(request)
        if stream.exactly(len(request)) != request:
            # Nobody knows where in this stream the next answer would begin.
            stream.close()
            raise WrongAnswer("with other bytes than were sent")

    def settle(self, stream: Stream) -> None:
        """An echo keeps nothing."""


class HttpGet:
    """GET on a connection that is kept for as long as the server wants."""

    lost_writes = 0

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: segue-probe\r\nAccept: */*\r\n\r\n"
        )
        self._request = head.encode("ascii")

    def ask(self, stream: Stream, number: int) -> None:
        stream.send(self._request)
        version, _, rest = stream.line().partition(b" ")
        if not version.startswith(b"HTTP/1."):
            stream.close()
            raise WrongAnswer("with something that is not HTTP/1")
        headers = dict(_headers(stream))
        if rest[:3] not in NO_BODY:
            _skip_body(stream, headers)
        if headers.get(b"connection", b"").lower() == b"close":
            stream.close()
        if not b"200" <= rest[:3] < b"400":
            raise WrongAnswer(rest.decode("latin-1"))

    def settle(self, stream: Stream) -> None:
        """A page keeps nothing."""


class RedisSet:
    """SET of a new key each time; what Redis acknowledged has to be there at the end."""

    def __init__(self) -> None:
        self._prefix = f"segue-probe:{os.urandom(6).hex()}:"
        self._acknowledged = array("Q")
        self._read_back = 0
        self._removed = 0
        self._right = 0

    @property
    def lost_writes(self) -> int:
        """What could not be read back as it was written."""
        return len(self._acknowledged) - self._right

    def ask(self, stream: Stream, number: int) -> None:
        stream.send(_command("SET", self._key(number), self._value(number)))
        answer = stream.line()
        if answer != b"+OK":
            raise WrongAnswer(answer.decode("latin-1"))
        self._acknowledged.append(number)

    def settle(self, stream: Stream) -> None:
        while part := self._acknowledged[self._read_back : self._read_back + AT_ONCE]:
            stream.send(b"".join(_command("GET", self._key(number)) for number in part))
            answers = [_bulk(stream) for _ in part]
            self._right += sum(
                got == self._value(number).encode() for number, got in zip(part, answers, strict=True)
            )
            self._read_back += len(part)
        while part := self._acknowledged[self._removed : self._removed + AT_ONCE]:
            stream.send(_command("DEL", *(self._key(number) for number in part)))
            stream.line()
            self._removed += len(part)

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def _value(self, number: int) -> str:
        return str(number)


def _headers(stream: Stream) -> Iterator[tuple[bytes, bytes]]:
    while line := stream.line():
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _skip_body(stream: Stream, headers: dict[bytes, bytes]) -> None:
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while length := _length(stream.line().partition(b";")[0], 16):
            stream.exactly(length + 2)
        list(_headers(stream))
    elif b"content-length" in headers:
        stream.exactly(_length(headers[b"content-length"], 10))
    else:
        stream.skip_rest()


def _length(text: bytes, base: int) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise WrongAnswer(f"with the length {text.decode('latin-1')!r}") from error


def _command(*words: str) -> bytes:
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


def _bulk(stream: Stream) -> bytes | None:
    head = stream.line()
    if not head.startswith(b"$"):
        raise WrongAnswer(head.decode("latin-1"))
    length = _length(head[1:], 10)
    return None if length < 0 else stream.exactly(length + 2)[:-2]
