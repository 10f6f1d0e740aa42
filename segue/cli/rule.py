"""`segue rule`: guests that must, or should, be apart or together; kept by the controller, heeded by every planner."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, fleet_file, output
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

app = typer.Typer(
    help="Rules: guests that are to be apart or together.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(help="The rule.")]
Members = list[str] | None
COLUMNS: Final = ("NAME", "GUESTS WITH", "ARE TO BE", "BY", "AT MOST", "KIND")


@app.command()
def add(
    name: Name,
    apart: Annotated[
        Members, typer.Option(help="A label of its guests, as app=web; again: all of them.")
    ] = None,
    together: Annotated[Members, typer.Option(help="The same, for guests that belong together.")] = None,
    by: Annotated[
        str, typer.Option(help="The label whose domains are meant; host: each host is one.")
    ] = "host",
    at_most: Annotated[int, typer.Option(min=1, help="Apart: so many may share a domain.")] = 1,
    soft: Annotated[
        bool, typer.Option("--soft", help="It may be broken where there is no other way.")
    ] = False,
    weight: Annotated[
        float, typer.Option(min=0, help="Soft: what breaking it once is worth, as a share of a host.")
    ] = 0.1,
    form: Output = Format.TABLE,
) -> None:
    """Keep guests apart or together. The balancer moves those that break it; a rule against another is refused.

    Examples:

        segue rule add web-apart --apart app=web --by rack

        segue rule add shop-together --together shop=s1 --soft
    """
    if bool(apart) == bool(together):
        raise Refused(
            what=f"rule {name} is not added",
            why="it has to say either --apart or --together",
            todo="Name the labels of its guests, as in --apart app=web.",
            kind=Kind.USAGE,
        )
    wish = {
        "name": name,
        "spread": "apart" if apart else "together",
        "members": dict(fleet_file.pair(each) for each in apart or together or ()),
        "domain": by,
        "at_most": at_most,
        "hard": not soft,
        "weight": weight,
    }
    kept = fleet.load().demand_controller().call("POST", "/rules", wish)
    told(kept, form)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all rules.

    Example: segue rule list
    """
    found = fleet.load().demand_controller().all("/rules")
    output.show(found, form, [_row(rule) for rule in found], COLUMNS)


@app.command()
def remove(name: Name) -> None:
    """Take a rule back; guests stay where they are.

    Example: segue rule remove web-apart
    """
    fleet.load().demand_controller().call("DELETE", f"/rules/{name}")
    output.say(f"{name} is no rule any more.")


def told(kept: dict[str, Any], form: Format) -> None:
    """It is kept; what it cannot do today is said."""
    for warning in kept["warnings"]:
        output.say(f"warning: {warning}")
    output.say(f"{kept['name']} is kept.")
    if form is not Format.TABLE:
        output.show(kept, form)


def _row(rule: dict[str, Any]) -> tuple[str, ...]:
    members = " ".join(f"{label}={value}" for label, value in sorted(rule["members"].items()))
    kind = "hard" if rule["hard"] else f"soft, {rule['weight']:g}"
    at_most = str(rule["at_most"]) if rule["spread"] == "apart" else ""
    return rule["name"], members, rule["spread"], rule["domain"], at_most, kind
