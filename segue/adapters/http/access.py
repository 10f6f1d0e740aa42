"""Says who is calling: by the certificate of a TLS connection, or by the rights on the local socket."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from segue.errors import Kind, Refused
from segue.model.rights import RANKS
from segue.model.trust import Barred

SCHEME: Final = "segue"
ROLES: Final = frozenset({*RANKS, "host", "controller"})


@dataclass(frozen=True)
class Caller:
    """role and name as the certificate has them (segue://FLEET/ROLE/NAME). `serial`: of that certificate.

    `scope`: the labels of what it may see and touch; empty: everything. Only tokens have one.
    `holds_s`: from when until when the certificate holds; not for tokens.
    """

    role: str
    name: str
    serial: str = ""
    scope: Mapping[str, str] = field(default_factory=dict)
    holds_s: tuple[float, float] = field(default=(0.0, 0.0), compare=False)

    def may(self, *roles: str) -> bool:
        """True for one of these roles, and for a person of a higher one."""
        least = min((RANKS[role] for role in roles if role in RANKS), default=len(RANKS))
        return self.role in roles or RANKS.get(self.role, -1) >= least


LOCAL = Caller("operator", "root on the local socket")


class TlsHttp(HttpToolsProtocol):
    """uvicorn hands no client certificate to the application; this puts it into the request's state."""

    def connection_made(self, transport: Any) -> None:
        """Called once for each connection, after its handshake."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "caller": _of(transport)}


class LocalHttp(HttpToolsProtocol):
    """Connections of the local socket, which only root may open."""

    def connection_made(self, transport: Any) -> None:
        """Called once for each connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "caller": LOCAL}


def caller(connection: HTTPConnection) -> Caller:
    """Who called. Raises Refused for a certificate that names nobody, and for one who is barred."""
    found = getattr(connection.state, "caller", None)
    if isinstance(found, Caller):
        if (demand := getattr(connection.app.state, "demand_not_barred", None)) is not None:
            demand(found)
        return found
    raise Refused(
        what="the call is refused",
        why="neither a certificate nor a token says who calls",
        todo="Use a certificate with a URI name like segue://FLEET/operator/NAME.",
        kind=Kind.AUTH,
    )


def only(connection: HTTPConnection, *roles: str) -> Caller:
    """The caller, if it has one of these roles, or is a person of a higher one."""
    found = caller(connection)
    if not found.may(*roles):
        raise Refused(
            what="the call is refused",
            why=f"{found.name} is a {found.role}, this is for: {', '.join(roles)}",
            todo="Use a certificate of the right role.",
            kind=Kind.AUTH,
        )
    return found


def barred(found: Caller, bars: Barred) -> None:
    """Raises Refused for one who is barred."""
    bar = bars.find(found.role, found.name, found.serial)
    if bar is not None:
        raise Refused(
            what="the call is refused",
            why=f"{found.name} ({found.role}) was barred from the fleet: {bar.why or 'no reason was given'}",
            todo="Ask an admin of the fleet: `segue cert list` shows who is barred.",
            kind=Kind.AUTH,
        )


def _of(transport: Any) -> Caller | None:
    tls = transport.get_extra_info("ssl_object")
    return named(tls.getpeercert()) if tls else None


def named(certificate: Mapping[str, Any] | None) -> Caller | None:
    """Whom a certificate names, as Python's ssl shows it; None for one that names nobody of a fleet."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        parts = urlsplit(value)
        path = parts.path.strip("/").split("/")
        if kind == "URI" and parts.scheme == SCHEME and len(path) == 2 and path[0] in ROLES:
            seen = certificate or {}
            begins_s, ends_s = (ssl.cert_time_to_seconds(seen[key]) for key in ("notBefore", "notAfter"))
            return Caller(path[0], path[1], f"{int(seen['serialNumber'], 16):X}", holds_s=(begins_s, ends_s))
    return None
