"""How a token is written: a word, and base64 of what whoever shows it has to know. It holds a secret: show it once."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from segue.errors import Kind, Refused

JOIN: Final = "SGT1"
BEARER: Final = "SGB1"


class Joining(Struct, frozen=True):
    """ca: SHA-256 of the fleet's CA, so that the secret is told to nobody else."""

    ca: str
    id: str
    secret: str


def pack(joining: Joining) -> str:
    """`SGT1.<base64url>`."""
    raw = base64.urlsafe_b64encode(msgspec.json.encode(joining)).rstrip(b"=")
    return f"{JOIN}.{raw.decode()}"


def unpack(text: str) -> Joining:
    """Raises Refused for what is no token."""
    word, _, raw = text.strip().partition(".")
    try:
        content = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        if word != JOIN:
            raise ValueError(f"it does not begin with {JOIN}")
        return msgspec.json.decode(content, type=Joining)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise Refused(
            what="the token cannot be used",
            why=f"it is damaged, or no token at all ({error})",
            todo="Copy the whole line that `segue token create` printed.",
            kind=Kind.USAGE,
        ) from error


def pack_bearer(id_: str, secret: str) -> str:
    """`SGB1.<id>.<secret>`, as it stands after `Authorization: Bearer`."""
    return f"{BEARER}.{id_}.{secret}"


def unpack_bearer(text: str) -> tuple[str, str] | None:
    """(id, secret), or None for what is no such token."""
    parts = text.strip().split(".")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == BEARER else None


def digest(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits, so that one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
