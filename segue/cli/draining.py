"""A drain as it is asked for, shown and followed; the plan and its carrying out are the controller's."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import fleet, output, task, values
from segue.cli.output import Format

Parallel = Annotated[int, typer.Option(min=1, max=16, help="So many moves at once from and to each host.")]
MaxBlackout = Annotated[
    str, typer.Option(help="The longest blackout of each guest; else 300ms, and 3s for applications.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only plan: waves, forecast, and what cannot move.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return once it has begun.")]
Force = Annotated[bool, typer.Option("--force", help="Begin moves although a forecast is over the budget.")]


def run(wish: dict[str, Any], form: Format, *, dry_run: bool, detach: bool) -> None:
    """Plans, shows the plan, and follows it unless told not to."""
    controller = fleet.load().demand_controller()
    plan = controller.call("POST", "/drains/plan", wish)
    if dry_run or form is Format.TABLE:
        _show(plan, form)
    if dry_run:
        raise typer.Exit(4 if plan["staying"] else 0)
    begun = controller.call("POST", "/drains", wish)
    if detach:
        output.say(f"Task {begun['id'][:8]}.  Watch: segue task watch {begun['id'][:8]}")
        return
    raise typer.Exit(task.follow(controller, begun["id"], form))


def _show(plan: dict[str, Any], form: Format) -> None:
    rows = [
        (
            str(number),
            move["guest"],
            move["source"],
            move["target"],
            values.show_bytes(move["outlook"]["copied_bytes"]),
            f"{move['begins_s']:.0f} to {move['ends_s']:.0f} s",
            f"{move['outlook']['blackout_s'] * 1e3:.0f} ms",
            move["why"],
        )
        for number, wave in enumerate(plan["waves"], start=1)
        for move in wave["moves"]
    ]
    rows += [("", guest, "", "stays", "", "", "", why) for guest, why in sorted(plan["staying"].items())]
    output.show(plan, form, rows, ("WAVE", "GUEST", "FROM", "TO", "COPIED", "WHEN", "BLACKOUT", "WHY"))
    if form is Format.TABLE and not rows:
        output.say("There is nothing to move: it is empty.")
    elif form is Format.TABLE:
        output.say(
            f"About {plan['total_s']:.0f} s; no order of these moves is shorter than {plan['least_s']:.0f} s."
        )
