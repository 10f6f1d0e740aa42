"""Tokens, and hosts that join with them: once, in time, under the name that the token is for."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from segue.adapters import clock, pki
from segue.controller import certificates
from segue.controller.app import Controller
from segue.controller.mirror import Kept
from segue.errors import Kind, Refused
from segue.model.rights import RANKS
from segue.model.roster import CONTROLLER_NAME, NAME, HostRecord, Token
from segue.model.store import Conflict
from segue.model.trust import Bar
from segue.wire import tokens

log = structlog.get_logger()

TTL_MOST_S: Final = 30 * 86400.0


@dataclass(frozen=True)
class NewToken:
    """Body of POST /v1/tokens."""

    role: str = "host"
    name: str = ""
    ttl_s: float = 3600.0
    scope: dict[str, str] = field(default_factory=dict)
    """The labels of what its owner may see and touch; for viewers and operators."""


@dataclass(frozen=True)
class Made:
    """The token, for the only time, and what is kept of it."""

    token: str
    kept: Token


@dataclass(frozen=True)
class Join:
    """Body of POST /v1/join."""

    id: str
    secret: str
    name: str
    request: str
    """PEM; only its key is looked at."""


@dataclass(frozen=True)
class Joined:
    """What the host gets."""

    certificate: str
    ca: str
    fleet: str = ""
    """The id of the fleet that it belongs to from now on; empty: nobody has led it yet."""


async def create(controller: Controller, wish: NewToken, by: str) -> Made:
    """A new token; its secret is kept nowhere."""
    _demand_sense(wish)
    id_, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    kept = Token(
        id_, tokens.digest(secret), wish.role, wish.name, clock.wall_s() + wish.ttl_s, by=by, scope=wish.scope
    )
    await controller.books.add(controller.mirror.tokens, id_, kept)
    if wish.role != "host":
        return Made(tokens.pack_bearer(id_, secret), kept)
    return Made(tokens.pack(tokens.Joining(pki.fingerprint(controller.ca_pem), id_, secret)), kept)


async def join(controller: Controller, wish: Join, from_: str) -> Joined:
    """A certificate for the host. Every refusal is in the log, and costs a token nothing that was not its own."""
    try:
        kept = _demand_valid(controller, wish)
        key = _key(wish)
        await _use(controller, kept)
        certificate = certificates.for_host(controller, wish.name, key, from_)
    except Refused as error:
        log.warning("join refused", host=wish.name[:80], address=from_, token=wish.id[:32], why=error.why)
        raise
    await _enrol(controller, wish.name, f"{certificate.serial_number:X}")
    log.info("host joined", host=wish.name, address=from_, token=wish.id)
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    own = controller.mirror.identity.get("")
    return Joined(pem, controller.ca_pem.decode(), own.value.id if own else "")


def _demand_valid(controller: Controller, wish: Join) -> Kept[Token]:
    kept = controller.mirror.tokens.get(wish.id)
    digest = tokens.digest(wish.secret)
    # The same comparison for a token that there is not: how long it takes tells nothing.
    right = hmac.compare_digest(kept.value.digest if kept else "", digest)
    if kept is None or not right or kept.value.role != "host":
        raise _no("there is no such token")
    if kept.value.used_s:
        raise _no("the token was used already")
    if kept.value.expires_s < clock.wall_s():
        raise _no("the token's time is over")
    if not NAME.fullmatch(wish.name) or wish.name == CONTROLLER_NAME:
        raise _no(f"{wish.name[:80]!r} cannot be a host's name")
    if kept.value.name and kept.value.name != wish.name:
        raise _no(f"the token is for {kept.value.name} alone")
    if not kept.value.name and controller.mirror.hosts.get(wish.name):
        raise _no(f"there is a host {wish.name} already, and the token is not for it by name")
    return kept


def _key(wish: Join) -> EllipticCurvePublicKey:
    try:
        return pki.key_of_request(wish.request)
    except ValueError as error:
        raise _no(f"its request for a certificate cannot be used: {error}") from error


async def _use(controller: Controller, kept: Kept[Token]) -> None:
    """Of two that come with the same token one is the first: the store says which."""
    try:
        await controller.books.change(
            controller.mirror.tokens,
            kept.value.id,
            lambda token: replace(token, used_s=clock.wall_s()),
            revision=kept.entry.revision,
        )
    except Conflict as error:
        raise _no("the token was used already") from error


async def _enrol(controller: Controller, name: str, serial: str) -> None:
    """A host that joins again was made anew, or its key is in other hands: what it had before is barred everywhere."""
    hosts, now_s = controller.mirror.hosts, clock.wall_s()
    if (kept := hosts.get(name)) is None:
        await controller.books.add(hosts, name, HostRecord(name, now_s, serial))
    else:
        for older in filter(None, (kept.value.serial, *kept.value.renewed)):
            bar = Bar(older, now_s, "token", f"{name} joined again", now_s + pki.VALID_MOST.total_seconds())
            await controller.bars.bar(bar)
        await controller.books.change(
            hosts,
            name,
            lambda known: replace(known, serial=serial, renewed=(), revoked=False, joined_s=now_s),
        )
    await controller.bars.allow(f"host:{name}")


def _demand_sense(wish: NewToken) -> None:
    why = ""
    if wish.role != "host" and wish.role not in RANKS:
        why = f"there is no role {wish.role[:40]}: host, viewer, operator, admin"
    elif wish.name and not NAME.fullmatch(wish.name):
        why = f"{wish.name[:80]!r} cannot be a name"
    elif wish.role != "host" and not wish.name:
        why = "a token to call with needs a name, by which the audit knows it"
    elif wish.scope and wish.role not in ("viewer", "operator"):
        why = f"a token for {wish.role} has no scope"
    elif not 1.0 <= wish.ttl_s <= TTL_MOST_S:
        why = f"it must last between 1 s and {TTL_MOST_S / 86400:.0f} days"
    if why:
        raise Refused(
            what="no token was made", why=why, todo="See `segue token create --help`.", kind=Kind.USAGE
        )


def _no(why: str) -> Refused:
    return Refused(
        what="the host does not join",
        why=why,
        todo="Ask an admin of the fleet for a new token: `segue token create`.",
        kind=Kind.AUTH,
    )
