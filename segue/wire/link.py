"""What an agent and a controller say to each other over the connection that the agent keeps: tagged frames, JSON.

The agent speaks first and tells everything; from then on only what changed. A command is a call of the agent's own API.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from segue.errors import Kind, Refused
from segue.model.host import HostFacts
from segue.model.load import HostLoad
from segue.model.migration import Migration
from segue.model.roster import Decided
from segue.model.trust import SignedBarred
from segue.wire.frames import Shown

LINK_VERSION: Final = 1
FRAME_BYTES: Final = 8 << 20
BEAT_S: Final = 2.0
"""An agent says something at least that often."""
SILENCE_S: Final = 8.0
"""A side that heard nothing for so long takes the connection for broken."""
DEAF_S: Final = 5.0
"""An agent whose controller gives no sign of life for so long looks for the next one: by then another may lead."""
NOT_LEADING: Final = 4001
REFUSED: Final = 4003
FOREIGN: Final = 4004
"""The host belongs to another fleet, the controller to none of its."""


class Hello(Struct, tag="hello", frozen=True):
    """Everything that the agent's journal and host say now. epoch: the highest of any leader it has obeyed."""

    version: int
    epoch: int
    url: str
    facts: HostFacts
    labels: dict[str, str]
    guests: list[Shown]
    migrations: list[Migration]
    barred: SignedBarred | None = None
    """The list that the host goes by; it tells a controller that has lost its store."""
    decided: Decided | None = None
    """What it was last told was decided of it; counts where the controller knows nothing of the host."""
    fleet: str = ""
    """The id of the fleet that it belongs to; empty: none yet, or an agent that is older than ids."""


class Changes(Struct, tag="changes", frozen=True):
    """What is different since the last frame; empty: the agent lives."""

    facts: HostFacts | None = None
    guests: list[Shown] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Uuids of guests of which nothing is there any more."""
    migrations: list[Migration] = field(default_factory=list)
    load: HostLoad | None = None
    """Kept in memory alone; told every few seconds."""


class Answer(Struct, tag="answer", frozen=True):
    """To the command of that number: what the agent's API answered."""

    number: int
    status: int
    body: str = ""


class Renew(Struct, tag="renew", frozen=True):
    """A request (PEM) of a new certificate for this host; only to a controller whose welcome says that it renews."""

    request: str


class Welcome(Struct, tag="welcome", frozen=True):
    """The controller leads under this epoch. peers: name -> URL of all other hosts' agents."""

    epoch: int
    peers: dict[str, str]
    renews: bool = False
    barred: SignedBarred | None = None
    """Who is refused from now on, where the controller knows of anybody."""
    decided: Decided | None = None
    """To be kept by the agent."""
    fleet: str = ""
    """The id of the controller's fleet; empty: it is older than ids."""
    succeeds: tuple[str, ...] = ()
    """Fleets in whose place it was put."""


class Renewed(Struct, tag="renewed", frozen=True):
    """The new certificate (PEM) and the CA; or none, and why."""

    certificate: str = ""
    ca: str = ""
    why: str = ""


class Command(Struct, tag="command", frozen=True):
    """One call of the agent's API, to be made if the epoch is not an older one."""

    number: int
    epoch: int
    method: str
    path: str
    body: str = ""
    traceparent: str = ""
    """The span on behalf of which it is asked for: W3C Trace Context."""


FromAgent = Hello | Changes | Answer | Renew
FromController = Welcome | Command | Renewed
encode = msgspec.json.encode
_from_agent: msgspec.json.Decoder[FromAgent] = msgspec.json.Decoder(FromAgent)
_from_controller: msgspec.json.Decoder[FromController] = msgspec.json.Decoder(FromController)


def from_agent(raw: str | bytes) -> FromAgent:
    """Raises Refused for what is no frame."""
    try:
        return _from_agent.decode(raw)
    except msgspec.MsgspecError as error:
        raise _not_understood(error) from error


def from_controller(raw: str | bytes) -> FromController:
    """Raises Refused for what is no frame."""
    try:
        return _from_controller.decode(raw)
    except msgspec.MsgspecError as error:
        raise _not_understood(error) from error


def _not_understood(error: Exception) -> Refused:
    return Refused(
        what="a frame was not understood",
        why=str(error),
        todo="Run versions of segue that work together on hosts and controllers.",
        kind=Kind.USAGE,
    )
