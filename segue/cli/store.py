"""`segue store`: a backup of the fleet's store, and a fleet that goes on in another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from segue.cli import output, values
from segue.cli.output import Format, Output

if TYPE_CHECKING:
    from segue.controller.stores import Done
    from segue.engine.transfer import Progress as Report

app = typer.Typer(
    help="The fleet's store: back it up, restore it, move it.", no_args_is_help=True, add_completion=False
)
Url = Annotated[str, typer.Option("--store", metavar="URL", envvar="SEGUE_STORE", help="Which store.")]
Replace = Annotated[bool, typer.Option("--replace", help="Lose what is in the store that is filled.")]
DEFAULT = "sqlite:///var/lib/segue/controller.db"
COLUMNS = ("ENTRIES", "SIZE", "REVISION", "EPOCH", "SECONDS", "DIGEST")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The new file; its folder must be there.")],
    store: Url = DEFAULT,
    form: Output = Format.TABLE,
) -> None:
    """Write all that the fleet keeps into a file, as it was at one instant. Controllers go on meanwhile.

    Examples:

        segue store backup /backup/fleet-monday.jsonl

        segue store backup fleet.jsonl --store etcd://etcd1,etcd2,etcd3?ca=/etc/segue/etcd-ca.pem -o json
    """
    from segue.controller import stores

    done = _carry_out(lambda report: stores.backup(store, file, on_progress=report))
    _show(done, form)
    output.say(f"{file} is a whole backup. It has secrets in it: keep it where only you can read it.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file from `segue store backup`.")],
    *,
    store: Url = DEFAULT,
    replace: Replace = False,
    form: Output = Format.TABLE,
) -> None:
    """Make a store hold what a backup does, and nothing else. All controllers must have been stopped.

    Examples:

        segue store restore /backup/fleet-monday.jsonl

        segue store restore fleet.jsonl --store sqlite:///var/lib/segue/controller.db --replace -o json
    """
    from segue.controller import stores

    done = _carry_out(lambda report: stores.restore(file, store, replace=replace, on_progress=report))
    _show(done, form)
    output.say("The store was compared with the backup, and is the same. Start the controllers.")


@app.command()
def migrate(
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store that the fleet has now.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The store in which it goes on.")],
    replace: Replace = False,
    form: Output = Format.TABLE,
) -> None:
    """Have the fleet go on in another store. All controllers must have been stopped.

    No controller leads from the old store afterwards; its content stays.

    Examples:

        segue store migrate --from sqlite:///var/lib/segue/controller.db --to etcd://etcd1,etcd2,etcd3/segue

        segue store migrate --from etcd://etcd1 --to sqlite:///var/lib/segue/controller.db --replace -o json
    """
    from segue.controller import stores

    done = _carry_out(lambda report: stores.migrate(source, target, replace=replace, on_progress=report))
    _show(done, form)
    output.say(f"Both were compared and are the same. Start the controllers with --store {target}.")


def _carry_out(work: Callable[[Report], Coroutine[Any, Any, Done]]) -> Done:
    """With a line on stderr that says how far it is; where nobody looks, nothing is drawn."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking", total=None)

        def report(what: str, count: int) -> None:
            bar.update(task, description=what, completed=count)

        return asyncio.run(work(report))


def _show(done: Done, form: Format) -> None:
    row = (
        str(done.entries),
        values.show_bytes(done.bytes),
        str(done.revision),
        str(done.epoch),
        f"{done.seconds:.1f}",
        done.digest[:16],
    )
    output.show(asdict(done), form, [row], COLUMNS)
