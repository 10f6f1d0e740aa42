"""Where a probe's packets go: the text that a user wrote, as an address; asks the resolver once."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from segue.errors import Kind, Refused


@dataclass(frozen=True)
class Target:
    """`tls_name` is the name that the certificate has to have; empty without TLS."""

    host: str
    port: int
    tls_name: str = ""


async def resolve(text: str, *, is_url: bool) -> tuple[tuple[str, int], str]:
    """The address and the TLS name. Raises Refused."""
    target = _from_url(text) if is_url else _from_pair(text)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(
            what=f"cannot probe {text}",
            why=f"the name {target.host} is not known ({error.strerror or error})",
            todo="Use the guest's address, or a name that this machine can resolve.",
            kind=Kind.NOT_FOUND,
        ) from error
    host, port = found[0][4][:2]
    return (str(host), int(port)), target.tls_name


def _from_pair(text: str) -> Target:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise _not_a(text, "HOST:PORT, such as 10.77.100.1:7000")
    return Target(host, int(port))


def _from_url(text: str) -> Target:
    wanted = "a URL, such as http://10.77.100.1:8080/"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _not_a(text, wanted) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii():
        raise _not_a(text, wanted)
    secure = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if secure else 80), parts.hostname if secure else "")


def _not_a(text: str, wanted: str) -> Refused:
    return Refused(
        what=f"cannot probe '{text}'",
        why="it does not say where the service is",
        todo=f"Write {wanted}.",
        kind=Kind.USAGE,
    )
