"""`segue token`: the right to join the fleet, once, or to call its controller."""

from __future__ import annotations

from typing import Annotated

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

app = typer.Typer(
    help="Tokens: to join hosts, or to call the controller.", no_args_is_help=True, add_completion=False
)


@app.command()
def create(
    host: Annotated[str, typer.Option(help="The host that alone may use it; empty: any new one.")] = "",
    role: Annotated[str, typer.Option(help="host, to join; viewer, operator or admin, to call.")] = "host",
    name: Annotated[str, typer.Option(help="Whose it is, for the audit; needed to call.")] = "",
    ttl: Annotated[str, typer.Option(help="How long it can be used.")] = "1h",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Label its owner is confined to, as team=web. Several: all must fit."),
    ] = None,
    form: Output = Format.TABLE,
) -> None:
    """Make a token, and show it for the only time. One to join with can be used once.

    Examples:

        segue token create --host host4

        segue token create --role viewer --name grafana --ttl 720h

        segue token create --role operator --name olga --scope team=web
    """
    if (role == "host" and name) or (role != "host" and host):
        raise Refused(
            what="no token was made",
            why="--name is for a token to call with" if name else "--host is for a token to join with",
            todo="To join: --host host4, or neither. To call: --role and --name.",
            kind=Kind.USAGE,
        )
    wish = {
        "role": role,
        "name": host or name,
        "ttl_s": values.duration_s(ttl),
        "scope": values.labels(scope or []),
    }
    made = fleet.load().demand_controller().call("POST", "/tokens", wish)
    if form is Format.TABLE:
        typer.echo(made["token"])
    else:
        output.show(made, form)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all tokens; their secrets are kept nowhere.

    Example: segue token list
    """
    found = fleet.load().demand_controller().call("GET", "/tokens")["items"]
    rows = [
        (
            each["id"],
            each["role"],
            each["name"],
            ",".join(f"{label}={value}" for label, value in sorted(each["scope"].items())),
            values.show_time(each["expires_s"]),
            "yes" if each["used_s"] else "",
        )
        for each in found
    ]
    output.show(found, form, rows, ("ID", "ROLE", "NAME", "SCOPE", "EXPIRES", "USED"))


@app.command()
def delete(number: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Take a token back.

    Example: segue token delete 3f2a9c1d22ab4410
    """
    fleet.load().demand_controller().call("DELETE", f"/tokens/{number}")
    output.say(f"{number} is worth nothing any more.")
