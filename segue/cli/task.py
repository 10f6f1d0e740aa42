"""`segue task`: long work of the fleet: list, show, watch, pause, resume, cancel."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, output, values
from segue.cli.central import Controller
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Long work of the fleet: list, show, watch, pause, resume, cancel.",
    no_args_is_help=True,
    add_completion=False,
)
Number = Annotated[str, typer.Argument(help="The task's id, or the beginning of it.")]
COLUMNS = ("ID", "KIND", "STATE", "BY", "BEGAN", "NOTE")
CODES: Final = {"done": 0, "partial": 1, "failed": 1, "cancelled": 1}
MANY: Final = {
    "drain": ("moved", "moving"),
    "balance": ("moved", "moving"),
    "update": ("updated", "updating"),
}
"""Work on many guests: what is done with each of them."""


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all tasks, newest first.

    Example: segue task list
    """
    found = sorted(fleet.load().demand_controller().all("/tasks"), key=lambda task: -task["created_s"])
    output.show(found, form, [_row(task) for task in found], COLUMNS)


@app.command()
def show(number: Number, form: Output = Format.YAML) -> None:
    """Show all of one task.

    Example: segue task show 3f2a
    """
    found = fleet.load().demand_controller().call("GET", f"/tasks/{number}")
    output.show(found, form, [_row(found)], COLUMNS)


@app.command()
def watch(number: Number) -> None:
    """Follow a task to its end. Ctrl-C only ends the watching.

    Example: segue task watch 3f2a
    """
    raise typer.Exit(follow(fleet.load().demand_controller(), number))


@app.command()
def pause(number: Number, form: Output = Format.TABLE) -> None:
    """Let a drain, a balancing or an update begin nothing more; moves that are under way go on.

    Example: segue task pause 3f2a
    """
    _steer(number, "pause", form)


@app.command()
def resume(number: Number, form: Output = Format.TABLE) -> None:
    """Let a paused drain, balancing or update go on.

    Example: segue task resume 3f2a
    """
    _steer(number, "resume", form)


@app.command()
def cancel(number: Number, form: Output = Format.TABLE) -> None:
    """End a task: moves before their handoff are taken back, the others go on to their end.

    Example: segue task cancel 3f2a
    """
    _steer(number, "cancel", form)


def _steer(number: str, wish: str, form: Format) -> None:
    task = fleet.load().demand_controller().call("POST", f"/tasks/{number}/{wish}")
    output.say(f"{task['id'][:8]} is {task['state']}.")
    if form is not Format.TABLE:
        output.show(task, form)


def follow(controller: Controller, number: str, form: Format = Format.TABLE) -> int:
    """Says what changes, and returns the exit code."""
    told, task = "", {}
    try:
        for task in controller.follow(number):
            if (line := _line(task)) != told:
                output.say(line)
                told = line
    except KeyboardInterrupt:
        output.say(f"Detached; the task goes on.  Watch: segue task watch {number[:8]}")
        output.say(f"End it: segue task cancel {number[:8]}")
        return output.DETACHED
    for guest, why in sorted(task["staying"].items()):
        output.say(f"{guest} stays: {why}")
    if task["failure"]:
        output.say(f"what to do: {task['failure']['todo']}")
    if form is not Format.TABLE:
        output.show(task, form)
    return CODES[task["state"]]


def _line(task: dict[str, Any]) -> str:
    line = f"{task['kind']} {task['id'][:8]}: {task['state']}"
    if task["kind"] in MANY and not task["ended_s"]:
        done, doing = MANY[task["kind"]]
        busy = [trial for trial in task["trials"] if trial["target"]]
        names = [one["guest"] + (f" to {one['target']}" if done == "moved" else "") for one in busy]
        line += f", {len(task['moved'])} of {task['total']} {done}"
        line += f", {doing} {', '.join(names)}" if names else ""
    return f"{line}. {task['note']}" if task["note"] else line


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    began = values.show_time(task["created_s"])
    return task["id"][:8], task["kind"], task["state"], task["by"], began, task["note"]
