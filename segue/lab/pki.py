"""The lab's own certificates; they are for lab machines and tests, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segue.adapters.pki import Authority, Pair, ensure_authority, issue, new_authority
from segue.model.roster import CONTROLLER_NAME

__all__ = [
    "OPERATOR",
    "Authority",
    "Pair",
    "ensure_admin",
    "ensure_authority",
    "ensure_controller",
    "ensure_host",
    "ensure_member",
    "ensure_operator",
    "ensure_store_client",
    "host_uri",
    "issue",
    "new_authority",
]
OPERATOR: Final = "segue://lab/operator/admin"


def host_uri(name: str) -> str:
    """The name by which an agent knows its peer, whatever address it came from."""
    return f"segue://lab/host/{name}"


def _kept(pair: Pair) -> Pair | None:
    """The pair, where it is there already."""
    return pair if pair.certificate.exists() and pair.key.exists() else None


def ensure_host(authority: Authority, folder: Path, name: str, address: str) -> Pair:
    """The certificate of a host's agent, which is a server and its peers' client."""
    pair = Pair(folder / "hosts" / f"{name}.pem", folder / "hosts" / f"{name}.key")
    return _kept(pair) or issue(
        authority,
        pair,
        common_name=name,
        uri=host_uri(name),
        addresses=[address],
        dns_names=[name],
        server=True,
    )


def ensure_controller(authority: Authority, folder: Path, name: str, address: str) -> Pair:
    """The certificate of one controller; agents know all controllers by one name."""
    pair = Pair(folder / "controllers" / f"{name}.pem", folder / "controllers" / f"{name}.key")
    return _kept(pair) or issue(
        authority,
        pair,
        common_name=CONTROLLER_NAME,
        uri=f"segue://lab/controller/{name}",
        addresses=[address, "127.0.0.1"],
        dns_names=[CONTROLLER_NAME, name],
        server=True,
    )


def ensure_admin(authority: Authority, folder: Path) -> Pair:
    """The certificate of the fleet's first admin."""
    pair = Pair(folder / "admin.pem", folder / "admin.key")
    return _kept(pair) or issue(authority, pair, common_name="admin", uri="segue://lab/admin/admin")


def ensure_member(authority: Authority, folder: Path, name: str, address: str) -> Pair:
    """The certificate of an etcd member, which is a server, its peers' client, and its own gateway's."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    return _kept(pair) or issue(
        authority,
        pair,
        common_name=name,
        uri=f"segue://lab/etcd/{name}",
        addresses=[address, "127.0.0.1"],
        dns_names=[name],
        server=True,
    )


def ensure_store_client(authority: Authority, folder: Path) -> Pair:
    """What controllers show to etcd: without a common name, as etcd would take that for a user."""
    pair = Pair(folder / "client.pem", folder / "client.key")
    return _kept(pair) or issue(authority, pair, common_name="", uri="segue://lab/store")


def ensure_operator(authority: Authority, folder: Path) -> Pair:
    """The certificate of the person who runs `segue`."""
    pair = Pair(folder / "operator.pem", folder / "operator.key")
    return _kept(pair) or issue(authority, pair, common_name="admin", uri=OPERATOR)
