"""This program's own certificate in the TLS contexts that use it: a new one counts for every connection from then on.

Connections that stand go on as they are. It must never leave a context with a key that is not its certificate's.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from segue.adapters import pki, pki_files
from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.adapters.pki import Pair
from segue.errors import Kind, Refused, SegueError
from segue.model.trust import Certificate

Demand = Callable[[Caller], None]
"""Raises Refused for one who is barred."""
NOBODY: Final = "its certificate is not for this key"


class OwnTls:
    """The pair in its files, and the contexts made of it."""

    def __init__(self, ca: Path, pair: Pair, demand: Demand | None = None) -> None:
        self.ca = ca
        self.pair = pair
        self._contexts: list[ssl.SSLContext] = []
        self._demand = demand
        self.problem = ""
        """Why the last renewal failed."""
        pki_files.settle(pair)

    @property
    def ca_pem(self) -> bytes:
        """The CA that is trusted."""
        return self.ca.read_bytes()

    def certificate(self) -> Certificate:
        """How long it holds."""
        begins_s, ends_s = pki.span(self.pair.certificate.read_bytes())
        return Certificate(begins_s, ends_s, self.problem)

    def client(self) -> ssl.SSLContext:
        """For calls to others: the CA alone is trusted, and nobody who is barred."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self._demand is not None:
            context.sslobject_class = _checked(self._demand)
        return self.adopt(context)

    def adopt(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """From now on this context gets what is renewed."""
        context.load_cert_chain(self.pair.certificate, self.pair.key)
        self._contexts.append(context)
        return context

    def request(self, name: str) -> str:
        """A new key, and the request of a certificate for it. The old one stays in use."""
        return pki.new_request(pki_files.fresh(self.pair).key, name)

    def renew(self, certificate: bytes, ca: bytes = b"") -> None:
        """Uses it, on disk and in every context. Raises Refused for one that does not fit; then nothing is changed."""
        self._demand_fits(certificate)
        self._take_ca(ca)
        pki_files.put(self.pair, certificate)
        for context in self._contexts:
            context.load_cert_chain(self.pair.certificate, self.pair.key)
        self.problem = ""

    def reload(self) -> None:
        """What lies in the files counts, because somebody else wrote it there."""
        for context in self._contexts:
            context.load_cert_chain(self.pair.certificate, self.pair.key)

    def _take_ca(self, pem: bytes) -> None:
        """A CA certificate of the same key that holds longer. One of another key is for people to decide."""
        if not pem or pem == self.ca_pem or not pki.same_key(pem, self.ca_pem):
            return
        if pki.span(pem)[1] <= pki.span(self.ca_pem)[1]:
            return
        pki.write_certificate(self.ca, pem)
        for context in self._contexts:
            context.load_verify_locations(cadata=pem.decode())

    def _demand_fits(self, certificate: bytes) -> None:
        fresh = pki_files.fresh(self.pair)
        trial = fresh.certificate.with_name(f"{fresh.certificate.name}.trial")
        try:
            pki.write_certificate(trial, certificate)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(trial, fresh.key)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise Refused(
                what="the new certificate is not used",
                why=f"{NOBODY}: {error}",
                todo="Nothing: it is asked for again.",
                kind=Kind.AUTH,
            ) from error
        finally:
            trial.unlink(missing_ok=True)


def _checked(demand: Demand) -> type[ssl.SSLObject]:
    class Checked(ssl.SSLObject):
        """Ends the handshake with a peer that is barred, whatever its certificate says."""

        def do_handshake(self) -> None:
            super().do_handshake()
            found = access.named(self.getpeercert())
            try:
                if found is not None:
                    demand(found)
            except SegueError as error:
                raise ssl.SSLCertVerificationError(error.why) from error

    return Checked
