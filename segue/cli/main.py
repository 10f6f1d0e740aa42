"""The command `segue`: finds the sub-command, turns an error into text and exit code; does nothing else."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from segue.cli.output import offer_json
from segue.errors import Kind, SegueError

# Imported only when used: most of them would slow down every command by what they import.
SUB_APPS: Final = {
    "agent": "segue.cli.agent",
    "app": "segue.cli.app",
    "audit": "segue.cli.audit",
    "balance": "segue.cli.balance",
    "cert": "segue.cli.cert",
    "controller": "segue.cli.controller",
    "disk": "segue.cli.disk",
    "domain": "segue.cli.domain",
    "doctor": "segue.cli.doctor",
    "drain": "segue.cli.drain",
    "host": "segue.cli.host",
    "incident": "segue.cli.incident",
    "lab": "segue.cli.lab",
    "maintenance": "segue.cli.maintenance",
    "migrate": "segue.cli.migrate",
    "migration": "segue.cli.migration",
    "plan": "segue.cli.plan",
    "probe": "segue.cli.probe",
    "rehearse": "segue.cli.rehearse",
    "rule": "segue.cli.rule",
    "status": "segue.cli.status",
    "store": "segue.cli.store",
    "task": "segue.cli.task",
    "token": "segue.cli.token",
    "top": "segue.cli.top",
    "vm": "segue.cli.vm",
}
EXIT_CODES: Final = {
    Kind.USAGE: 2,
    Kind.NOT_FOUND: 3,
    Kind.POLICY: 4,
    Kind.CONFLICT: 4,
    Kind.TIMEOUT: 5,
    Kind.BUSY: 5,
    Kind.AUTH: 6,
    Kind.UNREACHABLE: 8,
}
CONSEQUENCE_CODES: Final = {"aborted": 1, "unsettled": 7, "in_doubt": 9, "unknown": 10}


class LazyGroup(TyperGroup):
    """A group that knows its sub-apps by name and imports one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*super().list_commands(ctx), *SUB_APPS})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUB_APPS:
            return super().get_command(ctx, cmd_name)
        command = get_command(import_module(SUB_APPS[cmd_name]).app)
        command.name = cmd_name
        offer_json(command)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A command that is only misspelt is named, as those below it are."""
        wrong = bool(args) and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None
        if wrong and (near := get_close_matches(args[0], self.list_commands(ctx))):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {', '.join(map(repr, near))}?")
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from segue import __version__

        typer.echo(f"segue {__version__}")
        raise typer.Exit


@app.callback()
def _segue(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """Move running virtual machines between hosts while their clients keep talking to them.

    Examples:

        segue lab up

        segue vm create web1 --host host1 --address 10.77.100.1/16

        segue migrate web1 --to host2

    Every command explains itself with --help. Exit codes: docs/reference/exit-codes.md.
    """


def main() -> int:
    try:
        app()
    except SegueError as error:
        _show(error)
        return CONSEQUENCE_CODES.get(error.consequence, EXIT_CODES[error.kind])
    return 0


def _show(error: SegueError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]{error.consequence}:[/] {escape(error.what)}: {escape(error.why)}")
    console.print(f"[dim]what to do:[/] {escape(error.todo)}")


if __name__ == "__main__":
    sys.exit(main())
