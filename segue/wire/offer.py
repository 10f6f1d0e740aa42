"""Which version of the agents' language two hosts speak with each other, and what that version can say.

An agent offers the oldest and the newest version it speaks; a migration uses the highest that both speak and keeps
it in its record. What a version cannot say is not used, or refused before anything is begun: never left out silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from segue.errors import Kind, Refused
from segue.model.host import HostFacts

OLDEST: Final = 1
"""Agents of 0.1 speak this one alone, and do not negotiate: they ask for it in HostFacts.wire_version."""
NEWEST: Final = 2


class Feature(StrEnum):
    """What one agent asks of another, in the words of an error: `which cannot <feature>`."""

    MEMORY_TLS = "encrypt memory"
    LOCAL_DISKS = "take in local disks"
    STORAGE_POSTCOPY = "run a guest before its disks are there"
    POSTCOPY = "run a guest before its memory is there"
    VERIFY = "compare memory and disks"
    SEVERAL_NICS = "take in a guest with several network cards"
    CONNTRACK = "take in the state of connections"
    CHANNELS = "take in memory by several connections, or compressed"
    OWN_USER = "run a guest's QEMU as a user of its own"
    WATCHED = "take in a guest with a panic device and a watchdog"
    COLD = "start a guest that crashed elsewhere"
    ATTEMPTS = "tell one attempt to copy from the next"


LEAST: Final[Mapping[Feature, int]] = {
    Feature.MEMORY_TLS: 2,
    Feature.LOCAL_DISKS: 2,
    Feature.STORAGE_POSTCOPY: 2,
    Feature.POSTCOPY: 2,
    Feature.VERIFY: 2,
    Feature.SEVERAL_NICS: 2,
    Feature.CONNTRACK: 2,
    Feature.CHANNELS: 2,
    Feature.OWN_USER: 2,
    Feature.WATCHED: 2,
    Feature.COLD: 2,
    Feature.ATTEMPTS: 2,
}
"""The first version that can say it."""
INSTEAD: Final[Mapping[Feature, str]] = {
    Feature.MEMORY_TLS: 'set channels = "off" under [tls] in the agent.toml of the newer one',
    Feature.STORAGE_POSTCOPY: "move the guest without it",
    Feature.POSTCOPY: "move the guest without it",
    Feature.VERIFY: "move the guest without --verify",
}
"""What else an operator can do than to update; nothing for what the guest itself needs."""


def offered(*, encrypted: bool) -> tuple[int, int]:
    """(oldest, newest) that our agent speaks. Where channels must be encrypted, no version that cannot do that."""
    return (LEAST[Feature.MEMORY_TLS] if encrypted else OLDEST), NEWEST


def spoken(facts: HostFacts) -> tuple[int, int]:
    """(oldest, newest) that the host's agent speaks; an agent that offers no range speaks one version."""
    return facts.wire_versions or (facts.wire_version, facts.wire_version)


def common(ours: HostFacts, theirs: HostFacts) -> int:
    """The highest version that both speak, 0 for none."""
    (our_oldest, our_newest), (their_oldest, their_newest) = spoken(ours), spoken(theirs)
    highest = min(our_newest, their_newest)
    return highest if highest >= max(our_oldest, their_oldest) else 0


def knows(feature: Feature, version: int) -> bool:
    """True where a peer that speaks `version` understands it: for what may be left out without harm."""
    return version >= LEAST[feature]


def demand(feature: Feature, version: int) -> None:
    """Raises Refused where a peer that speaks `version` would not understand what the operator asked for."""
    if not knows(feature, version):
        raise Refused(
            what="the migration cannot be done as it was asked for",
            why=f"the other agent {_cannot(feature, version)}",
            todo=f"Update segue there{_or_else(feature)}.",
            kind=Kind.POLICY,
        )


def obstacles(ours: HostFacts, theirs: HostFacts, needs: Iterable[Feature] = ()) -> tuple[str, ...]:
    """Every reason why the two agents cannot do this together, in words that follow `because`."""
    return tuple(_obstacles(ours, theirs, needs))


def _obstacles(ours: HostFacts, theirs: HostFacts, needs: Iterable[Feature]) -> Iterator[str]:
    version = min(spoken(ours)[1], spoken(theirs)[1])
    behind = theirs if spoken(theirs)[1] == version else ours
    whose = "its agent" if behind is theirs else f"the agent of {ours.name}"
    missing = [feature for feature in sorted(needs) if not knows(feature, version)]
    for feature in missing:
        yield f"{whose} {_cannot(feature, version)}: update it{_or_else(feature)}"
    if not missing and not common(ours, theirs):
        our_range, their_range = _range(*spoken(ours)), _range(*spoken(theirs))
        yield f"its agent speaks wire version {their_range}, that of {ours.name} {our_range}: update the older one"


def _cannot(feature: Feature, version: int) -> str:
    return f"speaks wire version {version}, which cannot {feature}"


def _or_else(feature: Feature) -> str:
    return f", or {INSTEAD[feature]}" if feature in INSTEAD else ""


def _range(oldest: int, newest: int) -> str:
    return str(newest) if oldest == newest else f"{oldest} to {newest}"
