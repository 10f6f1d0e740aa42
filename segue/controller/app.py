"""The running controller as its API sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from segue.adapters.pki import Authority
from segue.controller.books import Books
from segue.controller.links import Links
from segue.controller.mirror import Mirror
from segue.engine.leadership import Candidate
from segue.engine.store import Store
from segue.model.answer import AnswerOrders


@dataclass
class Controller:
    """Everything the controller consists of."""

    name: str
    store: Store
    mirror: Mirror
    books: Books
    links: Links
    candidate: Candidate
    authority: Authority
    ca_pem: bytes
    answers: AnswerOrders = field(default_factory=lambda: AnswerOrders(at_once=0))
    """What it may do by itself about failing hosts; by default nothing."""


def controller_of(connection: HTTPConnection) -> Controller:
    """The controller that serves this connection."""
    controller: Controller = connection.app.state.controller
    return controller
