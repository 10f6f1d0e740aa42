"""The running controller as its API sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from segue.adapters.metrics import Meter
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Authority
from segue.controller.bars import Bars
from segue.controller.books import Books
from segue.controller.limits import Limits
from segue.controller.links import Links
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.power import Powers
from segue.controller.traces import Traces
from segue.engine.leadership import Candidate
from segue.engine.store import Store
from segue.model.answer import AnswerOrders
from segue.model.health import Rule


@dataclass
class Controller:
    """Everything the controller consists of."""

    name: str
    store: Store
    mirror: Mirror
    books: Books
    links: Links
    loads: Loads
    candidate: Candidate
    authority: Authority
    ca_pem: bytes
    own: OwnTls
    bars: Bars
    limits: Limits
    certificate_s: float
    """How long the certificates of hosts and of controllers hold."""
    meter: Meter
    traces: Traces
    renews_people: bool = True
    """People get the next certificate for the one before."""
    answers: AnswerOrders = field(default_factory=lambda: AnswerOrders(at_once=0))
    """What it may do by itself about failing hosts; by default nothing."""
    powers: Powers = field(default_factory=Powers)
    """How the power of hosts is switched; by default not at all."""
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while hosts begin in a maintenance: only the leader lets any begin, and no two take one host."""
    incidents_url: str = ""
    """Where the leader posts each change of an incident; empty: nowhere."""
    sensor_rules: tuple[Rule, ...] = ()
    """By which the parts are judged that BMCs see."""
    lacking: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Guests that would find no place if their host died, by the host; the leader alone knows."""


def controller_of(connection: HTTPConnection) -> Controller:
    """The controller that serves this connection."""
    controller: Controller = connection.app.state.controller
    return controller
