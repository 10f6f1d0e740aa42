"""TLS between two hosts that share nothing but the key of one migration; it keeps no key and writes none to a disk.

Both derive the same key pair and the same certificate from the secret, show it, and trust nothing else: whoever
completes the handshake knows the secret. Each connection has keys of its own beside that (TLS 1.3, ECDHE).
"""

from __future__ import annotations

import datetime
import os
import socket
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

NAME = "segue-migration"
BY_PLACE = {"segue-pages-3": 3, "segue-pages-2": 2}
"""Who says so in the handshake takes memory that goes before (pages.py); for agents before that it goes with
the images. The best that both know holds."""
SPREAD = 3
"""From there on pages may come on any connection."""
BEGINS = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
ENDS = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
"""The key is made for one migration and forgotten after it; clocks that differ must not stop one."""


def pem(secret: str) -> bytes:
    """Private key and certificate for this migration's secret (hexadecimal); the same on both hosts."""
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"segue application channels 1")
    key = Ed25519PrivateKey.from_private_bytes(seed.derive(bytes.fromhex(secret)))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


def by_place(one: socket.socket) -> int:
    """How the other host takes memory that goes before; 0 where it does not."""
    said = one.selected_alpn_protocol() if isinstance(one, ssl.SSLSocket) else None
    return BY_PLACE.get(said or "", 0)


def context(identity: bytes, *, server: bool) -> ssl.SSLContext:
    """Shows this identity and trusts it alone."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.set_alpn_protocols(list(BY_PLACE))
    made.verify_mode = ssl.CERT_REQUIRED
    certificate = identity[identity.index(b"-----BEGIN CERTIFICATE") :]
    made.load_verify_locations(cadata=certificate.decode())
    fd = os.memfd_create(NAME)  # The module takes files only; this one is in no folder.
    try:
        os.write(fd, identity)
        made.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return made
