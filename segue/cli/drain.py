"""`segue drain`: empties all hosts of a domain, none of which takes in what leaves another."""

from __future__ import annotations

from typing import Annotated

import typer

from segue.cli import budget, draining, fleet_file
from segue.cli.output import Format, Output

app = typer.Typer(add_completion=False)


@app.command()
def drain(
    domain: Annotated[str, typer.Option(help="A label of hosts with its value, such as rack=r7.")],
    parallel: draining.Parallel = 4,
    max_blackout: draining.MaxBlackout = "",
    force: draining.Force = False,
    dry_run: draining.DryRun = False,
    detach: draining.Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Empty every host of a rack, a power feed, or whatever hosts have in common.

    Examples:

        segue drain --domain rack=r7 --dry-run

        segue drain --domain rack=r7
    """
    label, value = fleet_file.pair(domain)
    limits = budget.blackout(max_blackout)
    wish = {"label": label, "value": value, "parallel": parallel, "limits": limits, "force": force}
    draining.run(wish, form, dry_run=dry_run, detach=detach)
