"""A certificate authority in two files: makes it, and signs. Who may be certified is not its business."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID: Final = dt.timedelta(days=365)
VALID_MOST: Final = dt.timedelta(days=1000)
"""No certificate is made for longer, but the CA's."""
CA_VALID: Final = dt.timedelta(days=3650)
# Clocks of hosts may differ a little from the one that signs.
EARLY: Final = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Authority:
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Subject:
    """Who is certified: the URI says who calls, the other names where a server answers."""

    common_name: str
    uri: str
    addresses: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    server: bool = False


@dataclass(frozen=True)
class Pair:
    """The files of one certificate and its key."""

    certificate: Path
    key: Path


def ensure_authority(folder: Path, common_name: str = "segue CA") -> Authority:
    """The CA in `folder` (ca.pem, ca.key), made if it is not there."""
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key.exists():
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)
    authority = new_authority(common_name)
    folder.mkdir(parents=True, exist_ok=True)
    _write_key(key, authority.key)
    _write(certificate, authority.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return authority


def new_authority(
    common_name: str = "segue CA",
    valid: dt.timedelta = CA_VALID,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Authority:
    """A CA that nobody trusts yet. With the key and name of an older one it takes its place: what that signed holds."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = _builder(name, name, key.public_key(), dt.datetime.now(dt.UTC) - EARLY, valid)
    usage = x509.KeyUsage(
        digital_signature=False, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Authority,
    pair: Pair,
    *,
    common_name: str,
    uri: str,
    addresses: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    server: bool = False,
    not_before: dt.datetime | None = None,
    valid: dt.timedelta = VALID,
) -> Pair:
    """Write a new key and certificate; `not_before` and `valid` in the past give an expired one."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = dt.datetime.now(dt.UTC) - EARLY if not_before is None else not_before
    subject = Subject(common_name, uri, tuple(addresses), tuple(dns_names), server)
    certificate = certificate_for(authority, key.public_key(), subject, begins, valid)
    _write_key(pair.key, key)
    _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return pair


def certificate_for(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    subject: Subject,
    begins: dt.datetime,
    valid: dt.timedelta,
) -> x509.Certificate:
    """Signs that whoever has this key is the subject."""
    builder = _builder(_name(subject.common_name), authority.certificate.subject, key, begins, valid)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
    names += [x509.DNSName(name) for name in subject.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in subject.addresses]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] + [ExtendedKeyUsageOID.SERVER_AUTH] * subject.server
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(signer, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def subject_of(certificate: x509.Certificate) -> Subject:
    """Whom a certificate of ours names, for the next one."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return Subject(
        str(common[0].value) if common else "",
        names.get_values_for_type(x509.UniformResourceIdentifier)[0],
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        tuple(names.get_values_for_type(x509.DNSName)),
        server=ExtendedKeyUsageOID.SERVER_AUTH in purposes,
    )


def new_request(key_path: Path, name: str) -> str:
    """A new key in that file, and a request for a certificate of it; what is certified is the signer's choice."""
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(key_path, key)
    made = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def key_of_request(text: str) -> ec.EllipticCurvePublicKey:
    """The key of a request that its holder has signed. Raises ValueError for anything else."""
    request = x509.load_pem_x509_csr(text.encode())
    key = request.public_key()
    if not request.is_signature_valid:
        raise ValueError("it is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size < 256:
        raise ValueError("its key is not an elliptic curve's of 256 bits or more")
    return key


def early(valid: dt.timedelta) -> dt.timedelta:
    """How long before now a certificate begins: a short one would else be old when it is made."""
    return min(EARLY, valid / 20)


def span(pem: bytes) -> tuple[float, float]:
    """(begins, ends) of a certificate, in seconds since 1970."""
    found = x509.load_pem_x509_certificate(pem)
    return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()


def sign(authority: Authority, raw: bytes) -> str:
    """The CA's word for it."""
    return base64.b64encode(authority.key.sign(raw, ec.ECDSA(hashes.SHA256()))).decode()


def is_signed(ca_pem: bytes, raw: bytes, signature: str) -> bool:
    """True where the CA itself has signed it."""
    key = x509.load_pem_x509_certificate(ca_pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(base64.b64decode(signature, validate=True), raw, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error):
        return False
    return True


def same_key(one_pem: bytes, other_pem: bytes) -> bool:
    """True for two certificates of one key: the second may take the first one's place."""
    keys = [x509.load_pem_x509_certificate(pem).public_key() for pem in (one_pem, other_pem)]
    return keys[0] == keys[1]


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a certificate, by which a token names the CA."""
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def write_certificate(path: Path, pem: bytes) -> None:
    """Whole or not at all."""
    _write(path, pem, 0o644)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: dt.datetime,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + valid)
    )


def _name(common_name: str) -> x509.Name:
    """An empty one is for clients of etcd, which takes no certificate with a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    raw = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, raw, 0o600)


def _write(path: Path, raw: bytes, mode: int) -> None:
    """Renamed into place: a reader, or a run after a crash, sees a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(raw)
    half.replace(path)


def write_key(path: Path, pem: bytes) -> None:
    """For root alone."""
    _write(path, pem, 0o600)
