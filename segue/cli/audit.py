"""`segue audit`: who asked for what through the controller, and what came of it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output

app = typer.Typer(help="Who asked for what, and what came of it.", no_args_is_help=True, add_completion=False)
COLUMNS = ("WHEN", "WHO", "ROLE", "FROM", "WHAT", "OUTCOME")


@app.callback()
def _group() -> None:
    """Who asked for what, and what came of it."""


@app.command("list")
def list_(
    since: Annotated[str, typer.Option(help="Only what is younger than this.")] = "",
    who: Annotated[str, typer.Option(help="Only what this person or host asked for.")] = "",
    form: Output = Format.TABLE,
) -> None:
    """Show the audit, oldest first: changes asked for and done, and whatever was refused.

    Examples:

        segue audit list --since 24h

        segue audit list --since 720h -o json
    """
    path = f"/audit?since={time.time() - values.duration_s(since):.3f}" if since else "/audit"
    found = [line for line in fleet.load().demand_controller().all(path) if not who or line["who"] == who]
    rows = [
        (
            values.show_time(line["time_s"]),
            line["who"],
            line["role"],
            line["from_"],
            line["what"],
            line["outcome"],
        )
        for line in found
    ]
    output.show(found, form, rows, COLUMNS)
