"""Data on stdout as table, JSON or YAML; the JSON is the API's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from typer.main import get_command

WIDE = 200
DETACHED: Final = 130
"""Exit code of Ctrl-C where what was followed goes on."""


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("-o", "--output", help="How to print it.", envvar="SEGUE_OUTPUT")]


def offer_json(command: Any) -> None:
    """Gives each command that has --output the flag --json: that is what users of other tools try first."""
    for sub in getattr(command, "commands", {}).values():
        offer_json(sub)
    if (form := _form(command)) and not any("--json" in param.opts for param in command.params):
        flag = next(param for param in get_command(_flags).params if "--json" in param.opts)
        command.params.insert(command.params.index(form) + 1, flag)


def _form(command: Any) -> Any:
    return next((param for param in command.params if "--output" in param.opts), None)


def _as_json(ctx: typer.Context, wanted: bool) -> None:
    """Options that were given come first: what was not given then takes its default from here."""
    if wanted:
        form = _form(ctx.command)
        form.envvar = None
        ctx.default_map = {**(ctx.default_map or {}), form.name: Format.JSON.value}


_flags: Final = typer.Typer()


@_flags.command()
def _json(
    json_: Annotated[
        bool, typer.Option("--json", callback=_as_json, expose_value=False, help="Short for --output json.")
    ] = False,
) -> None:
    """Never called: it is where Typer makes the flag."""


def show(data: Any, form: Format, rows: Sequence[Sequence[str]] = (), columns: Sequence[str] = ()) -> None:
    """Prints `data`; as a table, `rows` under `columns`."""
    if form is Format.JSON:
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    elif form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False))
    else:
        show_table(table(rows, columns))


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Table:
    """As every table here looks."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def show_table(made: Table) -> None:
    """Where nobody looks, a table is for a pager or grep: it is never folded to a terminal's width."""
    width = None if sys.stdout.isatty() else WIDE
    Console(highlight=False, width=width).print(made)


def say(text: str) -> None:
    """A message, on stderr, so that stdout stays data."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
