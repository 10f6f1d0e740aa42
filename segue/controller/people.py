"""Certificates of people: the next one, for who shows the one before, and which ones followed one that is barred.

It must never certify anybody but the caller, as he is: neither another name nor a higher role.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from segue.adapters import clock, pki
from segue.adapters.http.access import Caller
from segue.adapters.pki import Subject
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.model.trust import Bar, Follower
from segue.policy import renewal

log = structlog.get_logger()
FOLLOWERS_MOST: Final = 5
"""Of one certificate: answers may be lost, but not that many."""
BEFORE_S: Final = 60.0
"""So long before now it begins."""


@dataclass(frozen=True)
class Wish:
    """Body of POST /v1/certificates. `request`: PEM; only its key is looked at."""

    request: str


@dataclass(frozen=True)
class Certified:
    """The new certificate and the CA, PEM."""

    certificate: str
    ca: str


async def renew(controller: Controller, caller: Caller, wish: Wish, from_: str) -> Certified:
    """Of the same name and role, for as long as the one before. Raises Refused."""
    _demand_may(controller, caller)
    made = _signed(controller, caller, wish)
    serial, who = f"{made.serial_number:X}", f"{caller.role}:{caller.name}"
    ends_s = made.not_valid_after_utc.timestamp()
    await _forget_ended(controller)
    # Before it is given away: one that nobody knows could not be barred with the one before.
    follower = Follower(serial, caller.serial, who, ends_s)
    await controller.books.add(controller.mirror.followers, serial, follower)
    await controller.books.note(caller, from_, "renew", f"certificate {serial} after {caller.serial}", "")
    log.info("a person's certificate is renewed", who=who, serial=serial)
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return Certified(pem, controller.ca_pem.decode())


def bars(mirror: Mirror, bar: Bar) -> Iterator[Bar]:
    """That bar and, where it is about a certificate, one for each that followed it."""
    waiting, seen = [bar], {bar.who}
    while waiting:
        now = waiting.pop()
        yield now
        for one in mirror.followers.values():
            if one.after == now.who and one.serial not in seen:
                seen.add(one.serial)
                waiting.append(Bar(one.serial, bar.since_s, bar.by, f"it followed {bar.who}", one.ends_s))


def _demand_may(controller: Controller, caller: Caller) -> None:
    begins_s, ends_s = caller.holds_s
    followers = [one for one in controller.mirror.followers.values() if one.after == caller.serial]
    why, todo = "", "Go on with the one that there is."
    if not controller.renews_people:
        why, todo = (
            "this controller renews no certificates of people",
            "Ask an admin for a new one, or for a token.",
        )
    elif not caller.serial:
        why, todo = "a token is not renewed", "Ask an admin for a new one: `segue token create`."
    elif not renewal.may(begins_s, ends_s, clock.wall_s()):
        why = "more than a third of its life is left"
    elif len(followers) >= FOLLOWERS_MOST:
        why, todo = f"{len(followers)} followed it already", "Use the last one, or ask an admin for another."
    if why:
        raise Refused(what="the certificate is not renewed", why=why, todo=todo, kind=Kind.POLICY)


def _signed(controller: Controller, caller: Caller, wish: Wish) -> x509.Certificate:
    try:
        key = pki.key_of_request(wish.request)
    except ValueError as error:
        raise Refused(
            what="the certificate is not renewed",
            why=f"the request cannot be used: {error}",
            todo="Send a PKCS #10 request in PEM.",
            kind=Kind.USAGE,
        ) from error
    begins_s, ends_s = caller.holds_s
    subject = Subject(caller.name, f"segue://fleet/{caller.role}/{caller.name}")
    begins = dt.datetime.fromtimestamp(clock.wall_s() - min(BEFORE_S, (ends_s - begins_s) / 20), dt.UTC)
    left = controller.authority.certificate.not_valid_after_utc - begins
    valid = min(dt.timedelta(seconds=ends_s - begins_s), pki.VALID_MOST, left)
    return pki.certificate_for(controller.authority, key, subject, begins, valid)


async def _forget_ended(controller: Controller) -> None:
    table, now_s = controller.mirror.followers, clock.wall_s()
    for one in [one for one in table.values() if one.ends_s < now_s]:
        try:
            await controller.books.remove(table, one.serial)
        except Refused as error:  # another controller was faster
            if error.kind not in (Kind.CONFLICT, Kind.NOT_FOUND):
                raise
