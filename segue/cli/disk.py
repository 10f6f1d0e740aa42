"""`segue disk`: disks that guests left behind when they moved."""

from __future__ import annotations

import time

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Disks that guests left behind when they moved.", no_args_is_help=True, add_completion=False
)


@app.callback()
def _disk() -> None:
    """Keeps `kept` a command of its own; without it Typer would make it the whole."""


@app.command()
def kept(form: Output = Format.TABLE) -> None:
    """Show the disks that stay on a host for a while after their guest has moved away.

    Example: segue disk kept
    """
    answers, errors = fleet.load().ask_all("/disks/kept")
    every = [{"host": host, **disk} for host in sorted(answers) for disk in answers[host]]
    rows = [
        (disk["guest"], disk["host"], disk["path"], _left(disk["until_s"] - time.time())) for disk in every
    ]
    output.show(every, form, rows, ("GUEST", "HOST", "FILE", "DELETED IN"))
    for name, error in sorted(errors.items()):
        output.say(f"not asked: {name}: {error.why}")


def _left(seconds: float) -> str:
    return values.show_duration(seconds) if seconds >= 1.0 else "now"
