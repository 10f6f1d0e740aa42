"""What controllers and etcd members of a lab find in their files: certificates, services, where the store is.

etcd has a CA of its own: a host's certificate must not open the fleet's store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from segue.lab import bmc, nodes
from segue.lab.nodes import Node, Role
from segue.lab.places import Places

if TYPE_CHECKING:
    from segue.lab.pki import Pair

FOLDER: Final = "/etc/segue/controller"
ETCD_FOLDER: Final = "/etc/segue/etcd"
LOCAL_STORE: Final = "sqlite:////var/lib/segue/controller.db"
CONTROLLER_RUN: Final = """#!/bin/sh
exec 2>&1
mkdir -p /var/lib/segue
OPTIONS=
[ ! -r /etc/default/segue-controller ] || . /etc/default/segue-controller
exec nice -n -5 segue controller run --dir {folder} --store '{store}' --port {port} --name {name} $OPTIONS
"""
ETCD_RUN: Final = """#!/bin/sh
exec 2>&1
mkdir -p -m 700 /var/lib/etcd
set -a
. /etc/segue/etcd/member
# What somebody writes here counts more, as with Debian's own service.
[ ! -r /etc/default/etcd ] || . /etc/default/etcd
# Its session, too: without that its niceness counts only against itself. sched(7)
echo -10 >/proc/self/autogroup 2>/dev/null
exec nice -n -10 /opt/etcd/etcd
"""
LOG_RUN: Final = """#!/bin/sh
mkdir -p /var/log/segue/{name}
exec svlogd -tt /var/log/segue/{name}
"""
ETCDCTL: Final = """#!/bin/sh
# etcdctl refuses to have the same told twice.
case " $* " in *" --endpoints"*) ;; *) export ETCDCTL_ENDPOINTS="${{ETCDCTL_ENDPOINTS:-{urls}}}" ;; esac
export ETCDCTL_CACERT={folder}/ca.pem ETCDCTL_CERT={folder}/client.pem ETCDCTL_KEY={folder}/client.key
exec /opt/etcd/etcdctl "$@"
"""


@dataclass(frozen=True)
class File:
    """One file of a machine; `path` is relative to its root."""

    path: str
    text: str
    mode: int = 0o644


def files(places: Places, node: Node, everybody: Sequence[Node]) -> list[File]:
    """Everything that this machine has more than others."""
    if node.role is Role.CONTROLLER:
        files = [*_controller(places, node), *_etcd_client(places), *_controller_service(node, everybody)]
        return [*files, *_bmcs(places, everybody)]
    if node.role is Role.ETCD:
        return [*_etcd_member(places, node), *_etcd_client(places), *_etcd_service(node, everybody)]
    return []


def service(node: Node) -> str:
    """The name of what runs there; empty where nothing does."""
    names = {Role.HOST: "segue-agent", Role.CONTROLLER: "segue-controller", Role.ETCD: "etcd"}
    return names.get(node.role, "")


def urls(everybody: Sequence[Node]) -> list[str]:
    """Of the controllers."""
    found = [node for node in everybody if node.role is Role.CONTROLLER]
    return [f"https://{node.address}:{nodes.CONTROLLER_PORT}" for node in found]


def store(everybody: Sequence[Node]) -> str:
    """The URL of the store: etcd where the lab has members, else a file of the one controller."""
    members = [node.name for node in everybody if node.role is Role.ETCD]
    if not members:
        return LOCAL_STORE
    options = f"ca={ETCD_FOLDER}/ca.pem&cert={ETCD_FOLDER}/client.pem&key={ETCD_FOLDER}/client.key"
    return f"etcd://{','.join(members)}/segue?{options}"


def _controller(places: Places, node: Node) -> Iterator[File]:
    """As `segue controller init` makes it from a CA that there is already."""
    from segue.lab import pki  # Late, as in furnish.py.

    authority = pki.ensure_authority(places.pki)
    pair = pki.ensure_controller(authority, places.pki, node.name, node.address)
    yield from _pair(FOLDER, "controller", pair)
    yield from _pair(FOLDER, "admin", pki.ensure_admin(authority, places.pki))
    ca = pki.Pair(places.pki / "ca.pem", places.pki / "ca.key")
    yield from _pair(FOLDER, "ca", ca)


def _bmcs(places: Places, everybody: Sequence[Node]) -> Iterator[File]:
    """How a controller reaches the hosts' BMCs, where they have any."""
    if not places.bmc_password.exists():
        return
    tables = [
        f'[{node.name}]\nurl = "{nodes.bmc_url(node)}"\nuser = "{bmc.USER}"\npassword_file = "bmc.password"\n'
        for node in everybody
        if node.role is Role.HOST
    ]
    yield File(f"{FOLDER}/bmc.toml", "\n".join(tables))
    yield File(f"{FOLDER}/bmc.password", places.bmc_password.read_text(encoding="ascii"), 0o600)


def _etcd_client(places: Places) -> Iterator[File]:
    from segue.lab import pki

    folder = places.pki / "etcd"
    authority = pki.ensure_authority(folder, f"segue lab {places.name} etcd CA")
    yield File(f"{ETCD_FOLDER}/ca.pem", (folder / "ca.pem").read_text(encoding="ascii"))
    yield from _pair(ETCD_FOLDER, "client", pki.ensure_store_client(authority, folder))


def _etcd_member(places: Places, node: Node) -> Iterator[File]:
    from segue.lab import pki

    folder = places.pki / "etcd"
    authority = pki.ensure_authority(folder, f"segue lab {places.name} etcd CA")
    yield from _pair(ETCD_FOLDER, "member", pki.ensure_member(authority, folder, node.name, node.address))


def _pair(folder: str, name: str, pair: Pair) -> Iterator[File]:
    yield File(f"{folder}/{name}.pem", pair.certificate.read_text(encoding="ascii"))
    yield File(f"{folder}/{name}.key", pair.key.read_text(encoding="ascii"), 0o600)


def _controller_service(node: Node, everybody: Sequence[Node]) -> Iterator[File]:
    run = CONTROLLER_RUN.format(
        folder=FOLDER, store=store(everybody), port=nodes.CONTROLLER_PORT, name=node.name
    )
    yield from _service(node, run)


def _etcd_service(node: Node, everybody: Sequence[Node]) -> Iterator[File]:
    members = [other for other in everybody if other.role is Role.ETCD]
    settings = "\n".join(f"ETCD_{key}='{value}'" for key, value in _settings(node, members).items())
    yield File(f"{ETCD_FOLDER}/member", f"{settings}\n")
    ends = ",".join(f"https://{other.address}:{nodes.ETCD_PORT}" for other in members)
    yield File("/usr/local/bin/etcdctl", ETCDCTL.format(urls=ends, folder=ETCD_FOLDER), 0o755)
    yield from _service(node, ETCD_RUN)


def _service(node: Node, run: str) -> Iterator[File]:
    name = service(node)
    yield File(f"/etc/sv/{name}/run", run, 0o755)
    yield File(f"/etc/sv/{name}/log/run", LOG_RUN.format(name=name.removeprefix("segue-")), 0o755)


def _settings(node: Node, members: Sequence[Node]) -> dict[str, str]:
    """The member's environment; docs/reference/store.md says why these."""
    client = f"https://{node.address}:{nodes.ETCD_PORT}"
    peer = f"https://{node.address}:{nodes.ETCD_PEER_PORT}"
    tls = {"TRUSTED_CA_FILE": "ca.pem", "CERT_FILE": "member.pem", "KEY_FILE": "member.key"}
    paths = {key: f"{ETCD_FOLDER}/{file}" for key, file in tls.items()}
    return {
        "NAME": node.name,
        "DATA_DIR": "/var/lib/etcd/data",
        "INITIAL_CLUSTER": ",".join(
            f"{other.name}=https://{other.address}:{nodes.ETCD_PEER_PORT}" for other in members
        ),
        "INITIAL_CLUSTER_TOKEN": "segue-lab",
        "INITIAL_ADVERTISE_PEER_URLS": peer,
        "LISTEN_PEER_URLS": peer,
        "LISTEN_CLIENT_URLS": client,
        "ADVERTISE_CLIENT_URLS": client,
        "CLIENT_CERT_AUTH": "true",
        "PEER_CLIENT_CERT_AUTH": "true",
        **paths,
        **{f"PEER_{key}": path for key, path in paths.items()},
        "AUTO_COMPACTION_MODE": "periodic",
        "AUTO_COMPACTION_RETENTION": "5m",
        "EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL": "1m",
        "LOG_LEVEL": "warn",
    }
