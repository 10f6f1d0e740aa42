"""The agent's configuration file, read once and checked before anything is started."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from segue.adapters import inlet, spans, webhook
from segue.adapters.http import metrics_page
from segue.adapters.inlet import Inlet
from segue.agent import health_config, lease_config, maintenance_config
from segue.agent.health_config import HealthConfig
from segue.agent.lease_config import LeaseConfig
from segue.agent.maintenance_config import MaintenanceConfig
from segue.errors import Kind, Refused
from segue.policy import identity

NETWORK_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?")
DEFAULT_PATH = Path("/etc/segue/agent.toml")


class Channels(StrEnum):
    """Memory and disks between hosts: TLS or nothing, or plain, to measure what TLS costs."""

    REQUIRED = "required"
    OFF = "off"


@dataclass(frozen=True)
class Tls:
    """PEM files: the fleet's CA, and this host's certificate and key; and what the channels of guests use."""

    ca: Path
    cert: Path
    key: Path
    channels: Channels = Channels.REQUIRED


@dataclass(frozen=True)
class NetworkConfig:
    """A plain `bridge` of the host, or an overlay (`vni`, 1 to 2^24 - 1) that the agent makes."""

    bridge: str = ""
    vni: int = 0
    mtu: int = 0
    hosts: tuple[str, ...] = ()
    """The hosts that an overlay joins, by their names in [peers]; empty: all of them."""


@dataclass(frozen=True)
class Config:
    """What one agent is told about its host."""

    name: str
    address: str
    tls: Tls
    port: int = 7443
    transfer_ports: str = ""
    """FIRST-LAST: where memory and disks of guests that come are waited for; empty: any free port."""
    bridge: str = "br0"
    state_dir: Path = Path("/var/lib/segue")
    run_dir: Path = Path("/run/segue")
    images_dir: Path = Path("/srv/segue/images")
    disks_dir: Path = Path("/var/lib/segue/disks")
    """Where disks lie that this host alone sees."""
    shared_dir: Path = Path("/srv/segue/shared")
    apps_dir: Path = Path("/var/lib/segue/apps")
    """Images of applications, and what they write; not on an overlay."""
    socket: Path = Path("/run/segue/agent.sock")
    qemu_user: str = "segue-qemu"
    qemu_uids: int = 0x70000000
    """First of the 2^27 user numbers for guests; 0: all guests are `qemu_user`. Systemd leaves these to nobody."""
    memory_reserve_bytes: int = 512 << 20
    """Memory that guests never get: the host's own system and this agent."""
    migration_bandwidth_bytes_per_s: int = 0
    """What all copies that leave this host may use of its link together; 0: no limit."""
    notice_max_s: float = 300.0
    """The longest time that a guest can ask for to get ready; an operator may give more."""
    keep_disks_s: float = 600.0
    """How long the disks of a guest that moved away stay here."""
    failpoints: Path | None = None
    """Only for rehearsals in the lab: see agent/failpoints.py."""
    metrics_address: str = ""
    """ADDRESS:PORT where the page for Prometheus is offered without TLS to whoever comes; empty: nowhere."""
    traces_url: str = ""
    """Where spans of ended migrations are sent (OTLP over HTTP); empty: nowhere."""
    incidents_url: str = ""
    """Where each change of an incident is posted as JSON; empty: nowhere."""
    controllers: tuple[str, ...] = ()
    """URLs of the fleet's controllers; empty: this host is in no fleet."""
    labels: dict[str, str] = field(default_factory=dict)
    """Where it stands and what it hangs on, such as rack and feed: told to the controller."""
    health: HealthConfig = field(default_factory=HealthConfig)
    maintenance: MaintenanceConfig = field(default_factory=MaintenanceConfig)
    lease: LeaseConfig = field(default_factory=LeaseConfig)
    peers: dict[str, str] = field(default_factory=dict)
    networks: dict[str, NetworkConfig] = field(default_factory=dict)

    @property
    def inlet(self) -> Inlet:
        """Where what other hosts send is waited for."""
        return inlet.of(self.address, self.transfer_ports)

    def peer_address(self, name: str) -> str:
        """The network address of a peer, without the port."""
        return urlsplit(self.peers[name]).hostname or ""


def load(path: Path) -> Config:
    """The configuration in `path`. Raises Refused with the key that is wrong."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
        _demand_known(path, content)
        config = msgspec.convert(content, Config, dec_hook=_decode)
    except FileNotFoundError as error:
        raise _refused(path, "the file is not there") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _refused(path, str(error)) from error
    if problem := next(_problems(config), ""):
        raise _refused(path, problem)
    for file_path in (config.tls.ca, config.tls.cert, config.tls.key):
        if not file_path.is_file():
            raise _refused(path, f"the certificate file {file_path} is not there")
    if not identity.usable(config.qemu_uids):
        raise _refused(
            path, f"qemu_uids is neither 0 nor in {identity.LOWEST}..{identity.HIGHEST - identity.COUNT}"
        )
    return config


def _demand_known(path: Path, content: dict[str, Any]) -> None:
    """A misspelt key would be silently without effect."""
    unknown = sorted(content.keys() - {field.name for field in fields(Config)})
    unknown += sorted(
        f"tls.{key}" for key in content.get("tls", {}).keys() - {field.name for field in fields(Tls)}
    )
    for name, network in content.get("networks", {}).items():
        known = {field.name for field in fields(NetworkConfig)}
        unknown += sorted(f"networks.{name}.{key}" for key in network.keys() - known)
    for part in (health_config, maintenance_config, lease_config):
        unknown += part.unknown_keys(content)
    if unknown:
        raise _refused(path, f"there is no key {', '.join(unknown)}")


def _problems(config: Config) -> Iterator[str]:
    yield from _network_problems(config)
    for url in config.controllers:
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            yield f"controllers: {url} is not https://HOST:PORT"
    if why := inlet.wrong(config.transfer_ports):
        yield f"transfer_ports: {why}"
    if why := metrics_page.wrong(config.metrics_address):
        yield f"metrics_address: {why}"
    if why := spans.wrong(config.traces_url):
        yield f"traces_url: {why}"
    if why := webhook.wrong(config.incidents_url):
        yield f"incidents_url: {why}"
    yield from health_config.problems(config.health)
    yield from maintenance_config.problems(config.maintenance)
    yield from lease_config.problems(config.lease)


def _network_problems(config: Config) -> Iterator[str]:
    for name, network in config.networks.items():
        if not NETWORK_NAME.fullmatch(name):
            yield f"networks.{name}: a network's name is 1 to 12 small letters, digits and hyphens"
        if bool(network.bridge) == bool(network.vni):
            yield f"networks.{name} needs either `bridge` or `vni`"
        if not 0 <= network.vni < 1 << 24:
            yield f"networks.{name}.vni must be below 2^24"
        if network.mtu and not 576 <= network.mtu <= 9216:
            yield f"networks.{name}.mtu must lie between 576 and 9216"
        if strangers := sorted(set(network.hosts) - {*config.peers, config.name}):
            yield f"networks.{name}.hosts names {', '.join(strangers)}, which [peers] does not have"
    numbers = [network.vni for network in config.networks.values() if network.vni]
    if len(numbers) != len(set(numbers)):
        yield "two networks have the same `vni`"


def _decode(shape: type, value: object) -> object:
    if shape is Path:
        return Path(str(value))
    raise NotImplementedError


def _refused(path: Path, why: str) -> Refused:
    return Refused(
        what="the agent cannot start",
        why=f"{path}: {why}",
        todo="See docs/reference/agent.md for every key, with an example.",
        kind=Kind.USAGE,
    )
