"""A certificate and its key on disk, replaced together: after a crash at any instant the two belong together.

The new ones lie beside the old under names of their own. The certificate is written last: where it is, both are.
"""

from __future__ import annotations

from pathlib import Path

from segue.adapters import pki
from segue.adapters.pki import Pair


def fresh(pair: Pair) -> Pair:
    """Where the next ones lie until both are whole."""
    return Pair(_beside(pair.certificate), _beside(pair.key))


def put(pair: Pair, certificate: bytes) -> None:
    """The certificate for the key that lies in `fresh(pair).key`: from now on these two count."""
    pki.write_certificate(fresh(pair).certificate, certificate)
    settle(pair)


def settle(pair: Pair) -> None:
    """Ends a replacement that was cut off; to be called before the files are used. Safe to repeat."""
    coming = fresh(pair)
    if not coming.certificate.exists():
        coming.key.unlink(missing_ok=True)
        return
    if coming.key.exists():
        coming.key.replace(pair.key)
    coming.certificate.replace(pair.certificate)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.next")
