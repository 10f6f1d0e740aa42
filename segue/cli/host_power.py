"""The part of `segue host` about power: what BMCs say, and a person's word that a host is dead."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from segue.cli import fleet, output
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

Name = Annotated[str, typer.Argument(help="The host.")]


class Power(StrEnum):
    """What is asked of a host's BMC."""

    STATUS = "status"
    ON = "on"
    OFF = "off"


def power(
    name: Name,
    what: Annotated[Power, typer.Argument(help="status, on or off.")] = Power.STATUS,
    force: Annotated[bool, typer.Option(help="Off, although guests run there: they are lost.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Ask a host's BMC for its power, or switch it.

    Examples:

        segue host power host2

        segue host power host2 on
    """
    controller = fleet.load().demand_controller()
    path = f"/hosts/{name}/power"
    if what is Power.STATUS:
        told = controller.call("GET", path)
    else:
        told = controller.call("POST", path, {"to": what.value, "force": force})
    output.show(told, form, [(told["host"], told["power"])], ("HOST", "POWER"))


def confirm_dead(
    name: Name,
    typed: Annotated[
        str, typer.Option("--yes", help="The host's name once more, instead of the question.")
    ] = "",
) -> None:
    """Say that a host has no power and stays off, so that its guests restart elsewhere.

    If it is not so they run twice, and their disks are lost: switch it off first, and pull its cable. It is refused
    while any host sees a sign of life of it.

    Example: segue host confirm-dead host2
    """
    controller = fleet.load().demand_controller()
    controller.call("GET", f"/hosts/{name}")  # One that is not there is said before anybody types it again.
    typed = typed or typer.prompt(f"{name} has no power, and stays off? Type its name to confirm")
    if typed != name:
        raise Refused(
            what="nothing was done",
            why=f"'{typed}' is not {name}",
            todo="Type the name of the host that is off.",
            kind=Kind.USAGE,
        )
    controller.call("POST", f"/hosts/{name}/confirm-dead")
    output.say(f"{name} counts as off. Its guests restart elsewhere: `segue incident list --open`.")
