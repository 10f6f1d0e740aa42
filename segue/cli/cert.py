"""`segue cert`: who is barred from the fleet though his certificate or token holds."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Certificates that hold no more: revoke, list, allow.", no_args_is_help=True, add_completion=False
)
Who = Annotated[str, typer.Argument(help="ROLE:NAME, as operator:olga, or a certificate's number in hex.")]


@app.command()
def revoke(
    who: Who,
    why: Annotated[str, typer.Option(help="For those who look at the list later.")] = "",
    form: Output = Format.TABLE,
) -> None:
    """Bar somebody from the fleet: controllers refuse him at once, agents as soon as they hear of it.

    Examples:

        segue cert revoke operator:olga --why "her laptop was stolen"

        segue cert revoke 4F2A9C1D22AB4410
    """
    made = fleet.load().demand_controller().call("POST", "/bars", {"who": who, "why": why})
    output.say(f"{made['who']} is refused from now on, by every agent that is connected too.")
    if form is not Format.TABLE:
        output.show(made, form)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show who is barred.

    Example: segue cert list
    """
    found = fleet.load().demand_controller().call("GET", "/bars")["items"]
    rows = [(bar["who"], values.show_time(bar["since_s"]), bar["by"], bar["why"]) for bar in found]
    output.show(found, form, rows, ("WHO", "SINCE", "BY", "WHY"))


@app.command()
def allow(who: Who) -> None:
    """Take that back. A host that was removed comes back with a new token: segue agent join.

    Example: segue cert allow operator:olga
    """
    fleet.load().demand_controller().call("DELETE", f"/bars/{quote(who)}")
    output.say(f"{who} is not barred any more.")
