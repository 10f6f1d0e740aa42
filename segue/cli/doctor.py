"""`segue doctor`: what a host lacks, why it matters, and what to do."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, output
from segue.cli.output import Format, Output
from segue.model.checkup import Level

app = typer.Typer(add_completion=False)
FAILED: Final = 4
LIMIT_S: Final = 60.0


@app.command()
def doctor(
    host: Annotated[str, typer.Argument(help="The host that is examined.")],
    every: Annotated[bool, typer.Option("--all", help="In the table, show what is well, too.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Say what a host lacks, each with the reason and what to do.

    The agent tries things on links and files of its own and takes them away again; guests and migrations are not
    disturbed.

    Examples:

        segue doctor host1

        segue doctor host1 --all

        segue doctor host1 -o json

    Exit code: 0 nothing fails (warnings may be there), 4 something does.
    """
    seen = fleet.load().host(host).call("GET", "/doctor", within_s=LIMIT_S)
    wanted = [finding for finding in seen["findings"] if every or finding["level"] != Level.OK]
    output.show(
        seen, form, [_row(finding) for finding in wanted], ("LEVEL", "CHECK", "WHAT", "WHY", "WHAT TO DO")
    )
    counts = {level: sum(f["level"] == level for f in seen["findings"]) for level in Level}
    output.say(f"{host}: " + ", ".join(f"{count} {level.value}" for level, count in counts.items()))
    if seen["level"] == Level.FAIL:
        raise typer.Exit(FAILED)


def _row(finding: dict[str, Any]) -> list[str]:
    return [finding[key] for key in ("level", "check", "what", "why", "todo")]
