"""What proves that a host cannot run its guests any more. Only nouns: a proof is a fact that was seen, never a wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from segue.model.guest import Guest


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

    @property
    def of_power(self) -> bool:
        """It says that the host is off; a lease that is over says only that its guests have ended."""
        return self.kind is not ProofKind.LEASE_OVER


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


class Sight(StrEnum):
    """What one host sees of another's address."""

    ANSWERS = "answers"  # its kernel does, whether or not its agent runs
    STORAGE = "storage"  # its network says nothing, and its heartbeat on shared storage goes on
    SILENT = "silent"


@dataclass(frozen=True)
class Death:
    """A host that was lost with guests on it: under `deaths/HOST`, until it is back. at_s: when it was lost."""

    host: str
    at_s: float
    incident: str
    proof: Proof | None = None
    why: str = ""
    """Why there is no proof yet, or why a guest still waits."""


@dataclass(frozen=True)
class Succession:
    """Who takes over a guest of a host that is off: under `successions/UUID`. Written before the heir is told, and
    never changed to another heir before that one has said no."""

    guest: Guest
    owner: str
    heir: str
    epoch: int
    begun_s: float
    refused: tuple[str, ...] = ()
    """Heirs that said no, with their reasons."""
    ended_s: float = 0.0
    started: bool = False
    sealed: bool = False
    """The heir's journal has it, and the owner was seen to be off after that: the owner cannot start it any more."""
    dark: tuple[str, ...] = ()
    """Hosts that were not asked whether they have it, as they had no power either. The seal is about them, too."""
