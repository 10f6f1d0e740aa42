"""`segue app run` without a host: the controller chooses it."""

from __future__ import annotations

from typing import Any

import typer

from segue.cli import fleet, task
from segue.errors import Kind, Refused


def place(known: fleet.Fleet, wish: dict[str, Any]) -> dict[str, Any]:
    """The application as it is then. What the controller says of each host that does not take it is shown."""
    if known.controller is None:
        raise Refused(
            what=f"{wish['name']} is not run",
            why="no host was named, and the context has no controller that could choose one",
            todo="Name one with --host.",
            kind=Kind.USAGE,
        )
    begun = known.controller.call("POST", "/apps", wish)
    if code := task.follow(known.controller, begun["id"]):
        raise typer.Exit(code)
    made: dict[str, Any] = known.controller.call("GET", f"/guests/{wish['name']}")
    return made
