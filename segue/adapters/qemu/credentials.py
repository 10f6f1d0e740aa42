"""The key of one migration's channels: kept for as long as QEMU needs it, never on a disk and never in a log.

QEMU is given a key that is good for this one migration only, never the host's own: a guest that broke out of its
QEMU could otherwise speak as the host.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from segue.adapters.qemu.monitor import Monitor
from segue.errors import Kind, Refused

SECRET_BYTES = 32
PRIORITY = (
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305"
    ":%DISABLE_TLS13_COMPAT_MODE"
)
"""GnuTLS: TLS 1.3 alone. QEMU itself adds the key exchanges with a shared key, the one with ECDHE first. A shared
key goes with SHA-256 (RFC 8446, 4.2.11); of the ciphers that do GnuTLS prefers ChaCha20, which no processor helps.

Compat mode (RFC 8446, appendix D.4) has the client send a record of six bytes before its last one. That one then waits
for the six bytes' acknowledgement, which the other kernel delays by 40 ms: in a post-copy while the guest stands."""
DH_FILE = "dh-params.pem"
DH_GROUP = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048 (RFC 7919, appendix A.1). A QEMU that listens and finds no such file beside its key looks for a prime of
its own for half a second to two, and answers nobody meanwhile; TLS 1.3 then uses none of them."""
USER = "qemu"
PREFIX = "tls-"
PART = re.compile(r"[0-9A-Za-z-]{1,64}")
"""A uuid; anything else could lead out of the folder."""
SECRET = re.compile(r"[0-9a-f]{64}")
"""A line feed or a colon in it would be another user's key."""


class Endpoint(StrEnum):
    """Who listens is the server, whichever way the bytes flow."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True)
class Credentials:
    """One migration's key in its folder, readable by the guest's QEMU; not the key itself."""

    folder: Path
    migration: str

    def name(self, endpoint: Endpoint) -> str:
        """The id of QEMU's object."""
        return f"{PREFIX}{endpoint}-{self.migration}"

    def properties(self, endpoint: Endpoint) -> dict[str, Any]:
        """QEMU's object, for QMP or, as JSON, for `--object` on a command line."""
        user = {"username": USER} if endpoint is Endpoint.CLIENT else {}
        return {
            "qom-type": "tls-creds-psk",
            "id": self.name(endpoint),
            "endpoint": endpoint.value,
            "dir": str(self.folder),
            "priority": PRIORITY,
            **user,
        }


class Vault:
    """The keys of one host, in a folder of /run that only root may change: a QEMU can read its own and no more."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def find(self, guest: str, migration: str) -> Credentials | None:
        """What was kept for this migration of the guest (a uuid)."""
        found = Credentials(self._top / _part(guest) / _part(migration), migration)
        return found if (found.folder / "keys.psk").is_file() else None

    def secret(self, found: Credentials) -> str:
        """The key itself, hexadecimal; for the other agent alone."""
        return (found.folder / "keys.psk").read_text().strip().partition(":")[2]

    def make(self, guest: str, migration: str, group: int) -> Credentials:
        """A new key, or the one that was made for this migration before the agent was restarted."""
        found = self.find(guest, migration)
        return found or self.keep(guest, migration, secrets.token_hex(SECRET_BYTES), group)

    def keep(self, guest: str, migration: str, secret: str, group: int) -> Credentials:
        """Writes the key for QEMU's group; keys of the guest's earlier migrations go."""
        if not SECRET.fullmatch(secret):
            raise _not_understood("the key is not 64 hexadecimal digits")
        own = self._top / _part(guest)
        for stale in own.glob("*"):
            if stale.name != migration:
                shutil.rmtree(stale)
        folder = own / _part(migration)
        folder.mkdir(parents=True, exist_ok=True)
        self._top.chmod(0o711)
        for path in (own, folder):
            os.chown(path, 0, group)
            path.chmod(0o710)
        _write(folder / DH_FILE, DH_GROUP, group)
        _write(folder / "keys.psk", f"{USER}:{secret}\n", group)
        return Credentials(folder, migration)

    def forget(self, guest: str) -> None:
        """No key of this guest stays. Safe to repeat."""
        shutil.rmtree(self._top / _part(guest), ignore_errors=True)


def _part(text: str) -> str:
    if not PART.fullmatch(text):
        raise _not_understood(f"{text[:80]!r} is no identifier")
    return text


def _not_understood(why: str) -> Refused:
    return Refused(
        what="the key of a migration was not understood",
        why=why,
        todo="Run the same version of segue on both hosts.",
        kind=Kind.USAGE,
    )


def _write(path: Path, text: str, group: int) -> None:
    half = path.with_name(".half")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchown(file.fileno(), 0, group)
        os.fchmod(file.fileno(), 0o640)
        file.write(text)
    half.replace(path)


async def offer(monitor: Monitor, credentials: Credentials, endpoint: Endpoint) -> str:
    """Makes the object in a running QEMU or qemu-storage-daemon; its id. Those of other migrations go."""
    name = credentials.name(endpoint)
    there = await _objects(monitor)
    for stale in there:
        if not stale.endswith(credentials.migration):
            await monitor.execute("object-del", id=stale)
    if name not in there:
        await monitor.execute("object-add", **credentials.properties(endpoint))
    return name


async def withdraw(monitor: Monitor) -> None:
    """Removes every key's object. Safe to repeat; connections that are open stay open."""
    for name in await _objects(monitor):
        await monitor.execute("object-del", id=name)


async def _objects(monitor: Monitor) -> set[str]:
    listed = await monitor.execute("qom-list", path="/objects")
    return {entry["name"] for entry in listed if entry["name"].startswith(PREFIX)}
