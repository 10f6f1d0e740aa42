"""What proves that a host cannot run its guests any more. Only nouns: a proof is a fact that was seen, never a wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Power(StrEnum):
    """What a BMC says of its host. Anything that is neither clearly on nor clearly off is unknown."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class ProofKind(StrEnum):
    """Where the certainty comes from."""

    BMC_OFF = "bmc_off"  # its BMC said that it has no power, after it was told to take it away
    LEASE_OVER = "lease_over"  # the guests' lease ran out, with margin: its own host has ended them
    STORAGE_LOST = "storage_lost"  # it cannot reach the storage any more
    PERSON = "person"  # a person has seen to it


@dataclass(frozen=True)
class Proof:
    """One such fact. by: the BMC's URL, the controller, or the person who vouches. text: for people."""

    kind: ProofKind
    host: str
    at_s: float
    by: str
    text: str


@dataclass(frozen=True)
class Bmc:
    """How a host's BMC is reached. system: its path below /redfish/v1/Systems; empty: the only one that it has."""

    url: str
    user: str
    password: str
    system: str = ""
    ca: str = ""
    """PEM file of the CA that its certificate must be from; empty: those of this machine."""
    insecure: bool = False
    """Its certificate is not looked at: whoever stands between may then say that a host is off."""
