"""`segue status`: the fleet in a few numbers."""

from __future__ import annotations

from typing import Any

import typer

from segue.cli import fleet, output
from segue.cli.output import Format, Output

app = typer.Typer(add_completion=False)


@app.command()
def status(form: Output = Format.TABLE) -> None:
    """Show the fleet in a few numbers: who leads, hosts, guests, what is under way.

    Example: segue status
    """
    seen = fleet.load().demand_controller().call("GET", "/status")
    rows = [
        ("leader", f"{seen['leader'] or 'nobody now'} (epoch {seen['epoch']})"),
        ("hosts", f"{seen['hosts_up']} of {seen['hosts']} up, {seen['hosts_cordoned']} cordoned"),
        ("guests", f"{seen['guests_running']} of {seen['guests']} running{_applications(seen)}"),
        ("under way", f"{seen['migrations']} migrations, {seen['tasks']} tasks"),
    ]
    rows += [("warning", line) for line in seen["warnings"]]
    output.show(seen, form, rows, ("FLEET", ""))


def _applications(seen: dict[str, Any]) -> str:
    found = seen.get("applications", 0)  # A controller that is older does not say it.
    return f", {found} of them applications" if found else ""
