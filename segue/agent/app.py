"""The running agent as the API sees it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from segue.agent.guests import Guests
from segue.agent.jobs import Jobs
from segue.agent.loads import Loads
from segue.agent.migrations import Migrations
from segue.agent.services import Services
from segue.engine.watch import Watch


@dataclass
class Agent:
    """Everything the agent consists of."""

    services: Services
    guests: Guests
    migrations: Migrations
    loads: Loads
    health: Watch
    jobs: Jobs


def agent_of(connection: HTTPConnection) -> Agent:
    """The agent that serves this connection."""
    agent: Agent = connection.app.state.agent
    return agent
