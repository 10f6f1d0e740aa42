"""What a controller keeps of hosts and of those who call: decided by people, or told by agents. It decides nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from segue.model.fleet import Taint
from segue.model.host import HostFacts

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Of a host, as DNS and certificates take it."""
CONTROLLER_NAME: Final = "segue-controller"
"""The name that every controller's certificate has, and that no host may have."""


@dataclass(frozen=True)
class Decided:
    """What people decided of a host. Its agent keeps it, and tells it to a controller that has lost its store."""

    cordoned: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HostRecord:
    """A host as it was decided: under `hosts/NAME`."""

    name: str
    joined_s: float = 0.0
    serial: str = ""
    """Of the certificate by which it may speak; an older one is refused."""
    cordoned: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """Besides those in its agent.toml, and before them."""
    revoked: bool = False
    renewed: tuple[str, ...] = ()
    """Certificates that followed it, oldest first, of which none was shown yet: the host may have got any of them."""
    taints: tuple[Taint, ...] = ()
    memory_overcommit: float = 1.0
    cpu_overcommit: float = 4.0
    link_bytes_per_s: int = 0
    """What migrations may use of its link; 0: what its agent says."""

    @property
    def decided(self) -> Decided:
        """For its agent to keep."""
        return Decided(self.cordoned, dict(self.labels))

    def knows(self, serial: str) -> bool:
        """True for a certificate by which it may speak."""
        return not self.serial or serial == self.serial or serial in self.renewed

    def shown(self, serial: str) -> HostRecord:
        """The record after it has spoken with this certificate: those before it are over."""
        if serial not in self.renewed:
            return self
        left = self.renewed[self.renewed.index(serial) + 1 :]
        return replace(self, serial=serial, renewed=left)


@dataclass(frozen=True)
class GuestWishes:
    """What was decided of a guest, by its name: under `wishes/NAME`. It is there before the guest is, and after it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """What rules choose it by."""
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a host -> the values that will do."""
    prefers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tolerates: tuple[str, ...] = ()
    importance: int = 0
    pinned: str = ""
    """Why no planner may move it; empty where they may."""


@dataclass(frozen=True)
class DomainRecord:
    """A domain such as rack=r1: under `domains/LABEL=VALUE`."""

    label: str
    value: str
    within: Mapping[str, str] = field(default_factory=dict)
    """Labels that its hosts inherit."""
    uplink_bytes_per_s: int = 0
    """Shared by all moves that leave it, and by all that come; 0: no limit that is known."""


@dataclass(frozen=True)
class HostReport:
    """What its agent said last: under `reports/NAME`."""

    name: str
    url: str
    facts: HostFacts
    labels: Mapping[str, str] = field(default_factory=dict)
    linked: bool = True
    """Its connection to the leader stands."""
    changed_s: float = 0.0


@dataclass(frozen=True)
class Token:
    """The right to join, or to call as somebody: under `tokens/ID`. The secret itself is kept nowhere."""

    id: str
    digest: str
    """SHA-256 of the secret."""
    role: str
    """`host`: to join, once; else the role of the person who shows it."""
    name: str = ""
    """The host that alone may use it, or the person; empty: any host that is new."""
    expires_s: float = 0.0
    used_s: float = 0.0
    by: str = ""
    scope: Mapping[str, str] = field(default_factory=dict)
    """The labels of what its owner may see and touch; empty: everything."""


@dataclass(frozen=True)
class AuditLine:
    """Who asked for which change, and what came of it: under `audit/TIME-ID`. Written once, never changed."""

    time_s: float
    who: str
    role: str
    from_: str
    what: str
    outcome: str
    """asked, done, or the reason why it was refused."""
    request: str = ""
    """The same for what was asked and what came of it."""
