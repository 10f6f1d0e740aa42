"""`segue migration`: what was moved, what is being moved, and taking it back."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from segue.cli import fleet, follow, output, values
from segue.cli.output import Format, Output
from segue.model.migration import Migration
from segue.policy import lessons

app = typer.Typer(help="Migrations: list, show, watch, cancel.", no_args_is_help=True, add_completion=False)
Number = Annotated[str, typer.Argument(help="Its id, or the beginning of it.")]
ERROR_COLUMNS = ("FROM", "RUNS", "TOTAL MEDIAN", "WORST", "BLACKOUTS", "MEDIAN", "WORST")
COLUMNS = ("ID", "GUEST", "FROM", "TO", "STAGE", "STARTED", "TOTAL", "BLACKOUT", "OUTAGE", "NOTE")


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all migrations, newest first.

    Example: segue migration list -o json
    """
    answers, errors = fleet.load().ask_all("/migrations")
    every = sorted((m for records in answers.values() for m in records), key=lambda m: -m["started_s"])
    output.show(every, form, [_row(record) for record in every], COLUMNS)
    for name, error in sorted(errors.items()):
        output.say(f"not asked: {name}: {error.why}")


@app.command("forecast-error")
def forecast_error(form: Output = Format.TABLE) -> None:
    """Show by how much the forecasts were wrong that were given before each migration.

    Example: segue migration forecast-error -o json
    """
    answers, errors = fleet.load().ask_all("/migrations")
    told = {
        name: lessons.errors(msgspec.convert(answer, list[Migration])) for name, answer in answers.items()
    }
    every = msgspec.convert([m for answer in answers.values() for m in answer], list[Migration])
    told["all"] = lessons.errors(every)
    rows = [(name, *_error_row(e)) for name, e in told.items()]
    output.show({name: asdict(e) for name, e in told.items()}, form, rows, ERROR_COLUMNS)
    for name, error in sorted(errors.items()):
        output.say(f"not asked: {name}: {error.why}")


@app.command()
def show(number: Number, form: Output = Format.YAML) -> None:
    """Show all that is known of one migration: forecast, outcome, what clients saw.

    Example: segue migration show 1d79777d
    """
    record = fleet.load().migration(number)[1]
    output.show(record, form, [_row(record)], COLUMNS)


@app.command()
def watch(number: Number) -> None:
    """Follow a migration to its end; the exit code is the one that `segue migrate` would have had.

    Example: segue migration watch 1d79777d
    """
    host, record = fleet.load().migration(number)
    raise typer.Exit(follow.conclude(follow.watch(host, record["id"])))


@app.command()
def cancel(number: Number) -> None:
    """Take a migration back; possible until the handoff. The guest goes on at the source.

    Example: segue migration cancel 1d79777d
    """
    host, record = fleet.load().migration(number)
    host.call("POST", f"/migrations/{record['id']}/cancel")
    last = follow.follow(host, record["id"], lambda _: None)
    follow.conclude(last)
    raise typer.Exit(0 if last["stage"] == "aborted" else 1)


def _error_row(told: lessons.Errors) -> tuple[str, ...]:
    total = (str(told.runs), f"{told.total_median:.0%}", f"{told.total_worst:.0%}")
    return (*total, str(told.blackout_runs), f"{told.blackout_median:.0%}", f"{told.blackout_worst:.0%}")


def _blackout(record: dict[str, Any]) -> str:
    if record.get("cold"):
        return "cold"
    blackout_s = record["outcome"]["blackout_s"]
    return values.show_ms(blackout_s) if blackout_s else ""


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    outcome = record["outcome"]
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["started_s"]))
    return (
        record["id"][:8],
        record["guest"],
        record["source"],
        record["target"],
        record["stage"],
        started,
        f"{outcome['total_s']:.1f} s" if outcome["total_s"] else "",
        _blackout(record),
        values.show_ms(outcome["outage_s"]) if outcome["outage_s"] else "",
        record["failure"]["why"] if record["failure"] else "",
    )
