"""The list of the barred under the CA's signature: closed by a controller, opened by everybody who has the CA."""

from __future__ import annotations

import msgspec

from segue.adapters import pki
from segue.adapters.pki import Authority
from segue.model.trust import Barred, SignedBarred


def closed(authority: Authority, barred: Barred) -> SignedBarred:
    """With the CA's signature."""
    text = msgspec.json.encode(barred).decode()
    return SignedBarred(text, pki.sign(authority, text.encode()))


def opened(ca_pem: bytes, signed: SignedBarred) -> Barred | None:
    """The list, or None where the CA has not signed it."""
    if not pki.is_signed(ca_pem, signed.text.encode(), signed.signature):
        return None
    try:
        return msgspec.json.decode(signed.text, type=Barred)
    except msgspec.MsgspecError:
        return None
