"""The lab's own certificates; they are for lab machines and tests, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segue.adapters.pki import Authority, Pair, ensure_authority, issue, new_authority

__all__ = [
    "OPERATOR",
    "Authority",
    "Pair",
    "ensure_authority",
    "ensure_host",
    "ensure_operator",
    "host_uri",
    "issue",
    "new_authority",
]
OPERATOR: Final = "segue://lab/operator/admin"


def host_uri(name: str) -> str:
    """The name by which an agent knows its peer, whatever address it came from."""
    return f"segue://lab/host/{name}"


def ensure_host(authority: Authority, folder: Path, name: str, address: str) -> Pair:
    """The certificate of a host's agent, which is a server and its peers' client."""
    pair = Pair(folder / "hosts" / f"{name}.pem", folder / "hosts" / f"{name}.key")
    if pair.certificate.exists() and pair.key.exists():
        return pair
    return issue(
        authority,
        pair,
        common_name=name,
        uri=host_uri(name),
        addresses=[address],
        dns_names=[name],
        server=True,
    )


def ensure_operator(authority: Authority, folder: Path) -> Pair:
    """The certificate of the person who runs `segue`."""
    pair = Pair(folder / "operator.pem", folder / "operator.key")
    if pair.certificate.exists() and pair.key.exists():
        return pair
    return issue(authority, pair, common_name="admin", uri=OPERATOR)
