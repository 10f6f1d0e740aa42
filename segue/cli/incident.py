"""`segue incident`: what broke, what shows it, what was done, and how long guests were away."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused, SegueError
from segue.model.crash import Cause

app = typer.Typer(
    help="Errors of guests and hosts: what broke, what shows it, and what was done.",
    no_args_is_help=True,
    add_completion=False,
)
COLUMNS: Final = ("ID", "WHEN", "HOST", "GUESTS", "CAUSE", "AWAY", "STATE", "LAST")


@app.command("list")
def list_(
    host: Annotated[str, typer.Option(help="Only of this host.")] = "",
    guest: Annotated[str, typer.Option(help="Only those that hit this guest.")] = "",
    cause: Annotated[str, typer.Option(help=f"Only of this cause: {', '.join(Cause)}.")] = "",
    since: Annotated[str, typer.Option(help="Only of the last, such as 24h.")] = "",
    still: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Show incidents, newest first.

    Examples:

        segue incident list --open

        segue incident list --guest web1 --since 24h -o json
    """
    if cause:
        values.choice(cause, tuple(Cause))
    after_s = time.time() - values.duration_s(since) if since else 0.0
    every, errors = _all()
    found = [
        one
        for one in every
        if (not host or one["host"] == host)
        and (not guest or any(hit["guest"] == guest for hit in one["hits"]))
        and (not cause or one["cause"] == cause)
        and one["at_s"] >= after_s
        and not (still and one["ended_s"])
    ]
    output.show(found, form, [_row(one) for one in found], COLUMNS)
    for name, error in sorted(errors.items()):
        output.say(f"not asked: {name}: {error.why}")


@app.command()
def show(
    number: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    form: Output = Format.TABLE,
) -> None:
    """Show one incident with all that is known of it.

    Example: segue incident show 1d79777d
    """
    every, errors = _all()
    found = [one for one in every if one["id"].startswith(number)]
    if len(found) != 1:
        raise Refused(
            what=f"'{number}' is the beginning of several" if found else f"there is no incident {number}",
            why=f"not asked: {', '.join(sorted(errors))}" if errors else "nobody has just one like that",
            todo="`segue incident list` shows all.",
            kind=Kind.NOT_FOUND,
        )
    if form is Format.TABLE:
        typer.echo("\n".join(_told(found[0])))
    else:
        output.show(found[0], form)


def _all() -> tuple[list[dict[str, Any]], dict[str, SegueError]]:
    """Of the controller, or of every host that answers; newest first."""
    known = fleet.load()
    if known.controller is not None:
        return sorted(known.controller.all("/incidents"), key=_newest_first), {}
    answers, errors = known.ask_all("/incidents")
    every = [one for records in answers.values() for one in records]
    return sorted(every, key=_newest_first), errors


def _newest_first(one: dict[str, Any]) -> float:
    return -float(one["at_s"])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    away = ", ".join(_away(hit) for hit in one["hits"])
    names = ", ".join(hit["guest"] for hit in one["hits"])
    state = "over" if one["ended_s"] else "open"
    last = one["done"][-1]["text"] if one["done"] else ""
    return (one["id"][:8], values.show_time(one["at_s"]), one["host"], names, one["cause"], away, state, last)


def _away(hit: dict[str, Any]) -> str:
    if hit["back_s"]:
        return f"{hit['back_s'] - hit['began_s']:.1f} s"
    return "no" if hit["runs"] else "still"


def _told(one: dict[str, Any]) -> list[str]:
    lines = [f"{one['id']}  {one['host']}  {one['cause']}", f"{_stamp(one['at_s'])}  {one['text']}"]
    lines += [f"{_stamp(step['at_s'])}  {step['text']}" for step in one["done"]]
    lines += ["", *(f"guest {hit['guest']}: away {_away(hit)}" for hit in one["hits"])]
    for seen in one["evidence"]:
        lines += ["", f"--- {seen['source']}", *seen["text"].rstrip().splitlines()]
    return lines


def _stamp(at_s: float) -> str:
    return f"{values.show_time(at_s)}.{int(at_s * 1000) % 1000:03}"
