"""Reads the description of a fleet, YAML or JSON; what is not understood is refused, never skipped."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct, field

from segue.cli import values
from segue.errors import Kind, Refused
from segue.model.fleet import (
    HOST_DOMAIN,
    Amounts,
    Domain,
    Fleet,
    FleetGuest,
    FleetHost,
    Load,
    Rule,
    Spread,
    Taint,
    Uplink,
)
from segue.model.plan import Fault, Weight
from segue.policy import soundness

Size = int | str
"""'64GiB', or a number of bytes."""
SOFT: Final = ":soft"
SHOWN: Final = 10
MISSING: Final = re.compile(r"Object missing required field `(\w+)`")


class LoadText(Struct, forbid_unknown_fields=True):
    """Cores in use, and bytes per second."""

    cpu: float = 0.0
    network: Size = 0


class HostText(Struct, forbid_unknown_fields=True):
    """A host as it is written."""

    name: str
    memory: Size
    cpus: float
    disk: Size = 0
    network: Size = 0
    link: Size = "1gbit"
    memory_overcommit: float = 1.0
    cpu_overcommit: float = 4.0
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[str] = field(default_factory=list)
    cordoned: bool = False
    accelerator: str = ""
    machines: list[str] = field(default_factory=list)
    cpu_models: dict[str, list[str]] = field(default_factory=dict)
    cpu_features: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    storages: list[str] = field(default_factory=list)


class GuestText(Struct, forbid_unknown_fields=True):
    """A guest as it is written."""

    name: str
    memory: Size
    vcpus: float = 1.0
    disk: Size = 0
    network: Size = 0
    host: str = ""
    moving_to: str = ""
    pinned: str = ""
    load: LoadText = field(default_factory=LoadText)
    load_before: LoadText | None = None
    held: Size | None = None
    dirty: Size = 0
    working_set: Size | None = None
    importance: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    wants: dict[str, str | list[str]] = field(default_factory=dict)
    prefers: dict[str, str | list[str]] = field(default_factory=dict)
    tolerates: list[str] = field(default_factory=list)
    accelerator: str = ""
    machine: str = ""
    cpu_model: str = ""
    cpu_features: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    storages: list[str] = field(default_factory=list)


class RuleText(Struct, forbid_unknown_fields=True):
    """`apart` or `together`: the labels of its guests."""

    name: str
    apart: dict[str, str] | None = None
    together: dict[str, str] | None = None
    by: str = HOST_DOMAIN
    at_most: int = 1
    soft: bool = False
    weight: float = 0.1


class UplinkText(Struct, forbid_unknown_fields=True):
    """`domain: rack=r1`."""

    domain: str
    speed: Size


class DomainText(Struct, forbid_unknown_fields=True):
    """`domain: rack=r1`, `within: {feed: a}`."""

    domain: str
    within: dict[str, str] = field(default_factory=dict)


class FleetText(Struct, forbid_unknown_fields=True):
    """The whole file."""

    hosts: list[HostText]
    guests: list[GuestText] = field(default_factory=list)
    rules: list[RuleText] = field(default_factory=list)
    uplinks: list[UplinkText] = field(default_factory=list)
    domains: list[DomainText] = field(default_factory=list)
    failure_domains: list[str] = field(default_factory=list)


def load(path: str) -> tuple[Fleet, tuple[Fault, ...]]:
    """(the fleet with inherited labels, warnings). `-` is stdin. Raises Refused for anything that is wrong."""
    text = _text(path)
    try:
        data = msgspec.json.decode(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        written = msgspec.convert(data, FleetText)
    except (msgspec.MsgspecError, yaml.YAMLError) as error:
        raise _wrong(path, _said(error)) from error
    fleet = _fleet(written)
    found = soundness.faults(fleet)
    if errors := [fault for fault in found if fault.weight is Weight.ERROR]:
        shown = [f"{fault.what}: {fault.why} ({fault.todo})" for fault in errors[:SHOWN]]
        more = [f"and {len(errors) - SHOWN} more"] if len(errors) > SHOWN else []
        raise _wrong(path, "; ".join([*shown, *more]))
    return soundness.inherit(fleet), found


def pair(text: str) -> tuple[str, str]:
    """'rack=r1' -> ('rack', 'r1'). Raises Refused."""
    label, sign, value = text.partition("=")
    if not (label and sign and value):
        raise Refused(
            what=f"'{text}' was not understood",
            why="it is not a label with its value",
            todo="Write it as rack=r1.",
            kind=Kind.USAGE,
        )
    return label, value


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from error


def _said(error: Exception) -> str:
    return MISSING.sub(r"`\1` is missing", " ".join(str(error).split()))


def _wrong(path: str, why: str) -> Refused:
    return Refused(
        what=f"the fleet in {path} cannot be planned for",
        why=why,
        todo="Mend it; docs/reference/fleet-file.md has every key.",
        kind=Kind.USAGE,
    )


def _fleet(written: FleetText) -> Fleet:
    return Fleet(
        hosts=tuple(_host(host) for host in written.hosts),
        guests=tuple(_guest(guest) for guest in written.guests),
        rules=tuple(_rule(rule) for rule in written.rules),
        uplinks=tuple(Uplink(*pair(each.domain), _rate(each.speed)) for each in written.uplinks),
        domains=tuple(Domain(*pair(each.domain), each.within) for each in written.domains),
        failure_domains=tuple(written.failure_domains),
    )


def _host(text: HostText) -> FleetHost:
    return FleetHost(
        name=text.name,
        memory_bytes=_size(text.memory),
        cpus=text.cpus,
        disk_bytes=_size(text.disk),
        network_bytes_per_s=_rate(text.network),
        link_bytes_per_s=_rate(text.link),
        memory_overcommit=text.memory_overcommit,
        cpu_overcommit=text.cpu_overcommit,
        labels=text.labels,
        taints=tuple(Taint(each.removesuffix(SOFT), not each.endswith(SOFT)) for each in text.taints),
        cordoned=text.cordoned,
        accelerator=text.accelerator,
        machines=frozenset(text.machines),
        cpu_models={model: tuple(lacks) for model, lacks in text.cpu_models.items()},
        cpu_features=frozenset(text.cpu_features),
        networks=frozenset(text.networks),
        storages=frozenset(text.storages),
    )


def _guest(text: GuestText) -> FleetGuest:
    return FleetGuest(
        name=text.name,
        needs=Amounts(_size(text.memory), text.vcpus, _size(text.disk), _rate(text.network)),
        host=text.host,
        moving_to=text.moving_to,
        pinned=text.pinned,
        load=_load(text.load),
        load_before=_load(text.load_before) if text.load_before else None,
        held_bytes=None if text.held is None else _size(text.held),
        dirty_bytes_per_s=_rate(text.dirty),
        working_set_bytes=None if text.working_set is None else _size(text.working_set),
        importance=text.importance,
        labels=text.labels,
        wants=_choices(text.wants),
        prefers=_choices(text.prefers),
        tolerates=frozenset(text.tolerates),
        accelerator=text.accelerator,
        machine=text.machine,
        cpu_model=text.cpu_model,
        cpu_features=frozenset(text.cpu_features),
        networks=frozenset(text.networks),
        storages=frozenset(text.storages),
    )


def _rule(text: RuleText) -> Rule:
    if (text.apart is None) == (text.together is None):
        raise Refused(
            what=f"rule {text.name} was not understood",
            why="it has to say either `apart` or `together`",
            todo="Write the labels of its guests, as in `apart: {app: web}`.",
            kind=Kind.USAGE,
        )
    spread = Spread.APART if text.apart is not None else Spread.TOGETHER
    members = text.apart if text.apart is not None else text.together
    return Rule(text.name, spread, members or {}, text.by, text.at_most, not text.soft, text.weight)


def _load(text: LoadText) -> Load:
    return Load(text.cpu, _rate(text.network))


def _choices(wanted: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {label: (each,) if isinstance(each, str) else tuple(each) for label, each in wanted.items()}


def _size(text: Any) -> int:
    return text if isinstance(text, int) else values.size_bytes(text)


def _rate(text: Any) -> float:
    return float(text if isinstance(text, int) else values.rate_bytes_per_s(text))
