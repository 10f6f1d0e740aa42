"""Guests and applications: where a new one goes, that nobody has its name, and the start of one that stands."""

from __future__ import annotations

from typing import Any

import typer

from segue.cli import fleet, task, vm_wishes
from segue.errors import Kind, Refused


def by_controller(known: fleet.Fleet, path: str, wish: dict[str, Any], undone: str) -> dict[str, Any]:
    """The guest as it is then. What the controller says of each host that does not take it is shown.

    undone: what did not happen to it where there is no controller, such as "created".
    """
    if known.controller is None:
        raise Refused(
            what=f"{wish['name']} is not {undone}",
            why="no host was named, and the context has no controller that could choose one",
            todo="Name one with --host.",
            kind=Kind.USAGE,
        )
    begun = known.controller.call("POST", path, wish)
    if code := task.follow(known.controller, begun["id"]):
        raise typer.Exit(code)
    made: dict[str, Any] = known.controller.call("GET", f"/guests/{wish['name']}")
    return made


def start(known: fleet.Fleet, host: fleet.Host, name: str, within_s: float = fleet.CALL_S) -> dict[str, Any]:
    """On its host. Another that cannot be asked whether it has it may have no power: a controller knows."""
    try:
        started: dict[str, Any] = host.call("POST", f"/guests/{name}/start", within_s=within_s)
    except Refused as error:
        if error.kind is not Kind.UNREACHABLE or known.controller is None:
            raise
        begun = known.controller.call("POST", f"/guests/{name}/start")
        if code := task.follow(known.controller, begun["id"]):
            raise typer.Exit(code) from error
        started = host.call("GET", f"/guests/{name}")
    return started


def name_it(known: fleet.Fleet, name: str, worn: dict[str, str]) -> None:
    """Raises Refused where a host has a guest of that name; labels are there before the guest is."""
    taken = [guest for guest in known.guests()[0] if guest["name"] == name]
    if taken:
        raise Refused(
            what=f"cannot create {name}",
            why=f"{taken[0]['host']} has a guest of that name already",
            todo="Choose another name.",
            kind=Kind.CONFLICT,
        )
    if worn:
        vm_wishes.change(known, name, {"labels": worn})
