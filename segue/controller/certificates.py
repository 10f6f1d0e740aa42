"""Certificates after the first: those of hosts on their request, and this controller's own, in time.

It must never certify a host under a name that is not its certificate's, nor one that is barred.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from segue.adapters import chance, clock, pki
from segue.adapters.http.access import Caller
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Authority, Subject
from segue.controller.app import Controller
from segue.errors import Kind, Refused, SegueError
from segue.policy import renewal
from segue.wire import link

log = structlog.get_logger()
LOOK_S: Final = 3600.0
NOT_SHOWN_MOST: Final = 16
"""A host that asks for one certificate after another and never uses any gets no more."""


def for_host(
    controller: Controller, name: str, key: EllipticCurvePublicKey, address: str
) -> x509.Certificate:
    """Signed; what the host asked to be called plays no part."""
    subject = Subject(name, f"segue://fleet/host/{name}", (address,), (name,), server=True)
    return _signed(controller.authority, subject, key, controller.certificate_s)


async def renew(controller: Controller, caller: Caller, request: str, address: str) -> link.Renewed:
    """The next certificate of a host that is connected; why not, where it gets none. In the audit either way."""
    try:
        made = for_host(controller, caller.name, pki.key_of_request(request), address)
        serial = f"{made.serial_number:X}"
        await _note(controller, caller, serial)
    except (SegueError, ValueError) as error:
        why = error.why if isinstance(error, SegueError) else f"its request cannot be used: {error}"
        log.warning("certificate not renewed", host=caller.name, why=why)
        await controller.books.note(caller, address, "renew", f"refused: {why}", "")
        return link.Renewed(why=why)
    await controller.books.note(caller, address, "renew", f"certificate {serial}", "")
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return link.Renewed(pem, controller.ca_pem.decode())


async def _note(controller: Controller, caller: Caller, serial: str) -> None:
    """Before it is given away: a certificate that no record knows would shut its host out."""
    hosts = controller.mirror.hosts
    if len(controller.books.known(hosts, caller.name).value.renewed) >= NOT_SHOWN_MOST:
        raise Refused(
            what="no certificate was made",
            why=f"it got {NOT_SHOWN_MOST} of which it has shown none",
            todo="Restart its agent.",
            kind=Kind.POLICY,
        )
    await controller.books.change(
        hosts, caller.name, lambda known: replace(known, renewed=(*known.renewed, serial))
    )


async def keep_own(own: OwnTls, authority: Authority, certificate_s: float) -> None:
    """For as long as the controller lives: its own certificate is renewed by itself, from the CA that it has."""
    draw = chance.between(0.0, 1.0)
    while True:
        now = own.certificate()
        left_s = renewal.due_s(now.begins_s, now.ends_s, draw) - clock.wall_s()
        if left_s > 0:
            await asyncio.sleep(min(left_s, LOOK_S))
            continue
        try:
            renew_own(own, authority, certificate_s)
            draw = chance.between(0.0, 1.0)
        except (SegueError, OSError, ValueError) as error:
            own.problem = str(error)
            log.warning("the controller's certificate is not renewed yet", why=own.problem)
            await asyncio.sleep(renewal.again_in_s(now.ends_s, clock.wall_s(), chance.between(0.0, 1.0)))


def renew_own(own: OwnTls, authority: Authority, certificate_s: float) -> None:
    """A new key, and the names and addresses of the certificate before it."""
    older = x509.load_pem_x509_certificate(own.pair.certificate.read_bytes())
    key = pki.key_of_request(own.request("controller"))
    made = _signed(authority, pki.subject_of(older), key, certificate_s)
    own.renew(made.public_bytes(serialization.Encoding.PEM))
    log.info("the controller's certificate is renewed", ends_s=own.certificate().ends_s)


def _signed(
    authority: Authority, subject: Subject, key: EllipticCurvePublicKey, valid_s: float
) -> x509.Certificate:
    """None outlives the CA that vouches for it."""
    valid = dt.timedelta(seconds=valid_s)
    begins = dt.datetime.now(dt.UTC) - pki.early(valid)
    left = authority.certificate.not_valid_after_utc - begins
    return pki.certificate_for(authority, key, subject, begins, min(valid + pki.early(valid), left))
