"""What etcd's JSON gateway answers, as far as it is used here. Bytes come in base64, numbers as strings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """The revision of the whole store when the answer was made."""

    revision: int = 0


@dataclass(frozen=True)
class KeyValue:
    """One key of etcd."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


@dataclass(frozen=True)
class Range:
    """Answer of /v3/kv/range."""

    header: Header = Header()
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False


@dataclass(frozen=True)
class Response:
    """One part of a transaction's answer; only reads have anything in it."""

    response_range: Range = Range()


@dataclass(frozen=True)
class Txn:
    """Answer of /v3/kv/txn."""

    header: Header = Header()
    succeeded: bool = False
    responses: tuple[Response, ...] = ()


@dataclass(frozen=True)
class Granted:
    """Answer of /v3/lease/grant, and inside that of /v3/lease/keepalive."""

    ID: int = 0
    TTL: int = 0


@dataclass(frozen=True)
class KeptAlive:
    """Answer of /v3/lease/keepalive."""

    result: Granted = Granted()


@dataclass(frozen=True)
class Done:
    """An answer of which nothing is needed."""


@dataclass(frozen=True)
class Token:
    """Answer of /v3/auth/authenticate."""

    token: str = ""


@dataclass(frozen=True)
class Failure:
    """An answer that is an error; `code` is one of gRPC's."""

    code: int = 0
    message: str = ""
    error: str = ""


@dataclass(frozen=True)
class Seen:
    """One event of a watch."""

    kv: KeyValue
    type: str = "PUT"


@dataclass(frozen=True)
class Watched:
    """A part of a watch."""

    header: Header = Header()
    created: bool = False
    canceled: bool = False
    cancel_reason: str = ""
    compact_revision: int = 0
    events: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class StreamFailure:
    """An error in the middle of a watch."""

    grpc_code: int = 0
    message: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a watch."""

    result: Watched | None = None
    error: StreamFailure | None = None
