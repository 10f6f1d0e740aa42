"""The controller's folder: CA, its own certificate, the first admin's. Made once; certificates alone are renewed."""

from __future__ import annotations

import datetime as dt
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from segue.adapters import pki
from segue.adapters.pki import Authority, Pair
from segue.errors import Kind, Refused
from segue.model.rights import RANKS
from segue.model.roster import CONTROLLER_NAME, NAME

SHORTEST_S: Final = 10.0


@dataclass(frozen=True)
class Folder:
    """Its files."""

    path: Path

    @property
    def ca(self) -> Path:
        """The fleet's CA."""
        return self.path / "ca.pem"

    @property
    def pair(self) -> Pair:
        """The controller's own certificate."""
        return Pair(self.path / "controller.pem", self.path / "controller.key")

    @property
    def admin(self) -> Pair:
        """The first admin's certificate."""
        return Pair(self.path / "admin.pem", self.path / "admin.key")

    def authority(self) -> Authority:
        """Raises Refused where it cannot be read."""
        try:
            key = serialization.load_pem_private_key((self.path / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.ca.read_bytes())
        except (OSError, ValueError) as error:
            raise Refused(
                what="the controller cannot start",
                why=f"its CA cannot be read: {error}",
                todo=f"Make it once with `segue controller init --dir {self.path}`.",
                kind=Kind.USAGE,
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Authority(certificate, key)


def init(folder: Folder, addresses: list[str], ca: tuple[Path, Path] | None) -> None:
    """Makes the CA, or takes a copy of one that there is, and signs the two certificates. Raises Refused."""
    if folder.path.exists() and any(folder.path.iterdir()):
        raise Refused(
            what="nothing was made",
            why=f"{folder.path} is not empty",
            todo="Choose another folder. A fleet's CA is made once: without it no agent is trusted any more.",
            kind=Kind.CONFLICT,
        )
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if ca is not None:
        _copy_ca(folder, *ca)
    authority = pki.ensure_authority(folder.path, "segue fleet CA")
    names = [CONTROLLER_NAME, "localhost", *(each for each in addresses if not _is_address(each))]
    pki.issue(
        authority,
        folder.pair,
        common_name=CONTROLLER_NAME,
        uri=f"segue://fleet/controller/{socket.gethostname().lower()}",
        dns_names=names,
        addresses=["127.0.0.1", *(each for each in addresses if _is_address(each))],
        server=True,
    )
    pki.issue(authority, folder.admin, common_name="admin", uri="segue://fleet/admin/admin")


def certify(folder: Folder, role: str, name: str, out: Path, valid_s: float) -> Pair:
    """A person's certificate and key in two new files. Raises Refused."""
    pair, why = Pair(out / f"{name}.pem", out / f"{name}.key"), ""
    if role not in RANKS:
        why = f"there is no role {role[:40]}: {', '.join(RANKS)}"
    elif not NAME.fullmatch(name) or name == CONTROLLER_NAME:
        why = f"{name[:80]!r} cannot be a name: small letters, digits, hyphens"
    elif not SHORTEST_S <= valid_s <= pki.VALID_MOST.total_seconds():
        why = f"it must hold between {SHORTEST_S:g} s and {pki.VALID_MOST.days} days"
    elif taken := [str(path) for path in (pair.certificate, pair.key) if path.exists()]:
        why = f"{' and '.join(taken)} is there already"
    if why:
        todo = "See `segue controller certify --help`."
        raise Refused(what="no certificate was made", why=why, todo=todo, kind=Kind.USAGE)
    authority, valid = folder.authority(), dt.timedelta(seconds=valid_s)
    begins = dt.datetime.now(dt.UTC) - pki.early(valid)
    valid = min(valid + pki.early(valid), authority.certificate.not_valid_after_utc - begins)
    uri = f"segue://fleet/{role}/{name}"
    try:
        return pki.issue(authority, pair, common_name=name, uri=uri, not_before=begins, valid=valid)
    except OSError as error:
        todo = "Choose another folder with --out."
        raise Refused(what="no certificate was made", why=str(error), todo=todo, kind=Kind.USAGE) from error


def renew_ca(folder: Folder) -> Authority:
    """A CA certificate of the same key and name that begins now: what the one before has signed goes on to hold."""
    older = folder.authority()
    names = older.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    made = pki.new_authority(str(names[0].value), key=older.key)
    pki.write_certificate(folder.ca, made.certificate.public_bytes(serialization.Encoding.PEM))
    return made


def _copy_ca(folder: Folder, certificate: Path, key: Path) -> None:
    try:
        pki.write_certificate(folder.ca, certificate.read_bytes())
        pki.write_key(folder.path / "ca.key", key.read_bytes())
    except OSError as error:
        raise Refused(
            what="nothing was made",
            why=f"the CA cannot be read: {error}",
            todo="Name the two files of the other controller: ca.pem and ca.key.",
            kind=Kind.USAGE,
        ) from error


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
