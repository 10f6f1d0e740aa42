"""`segue lab`: several hosts on one machine, to try things on; shows and asks, and leaves the work to `lab/`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

if TYPE_CHECKING:
    from segue.lab.api import Lab

app = typer.Typer(
    help="Make hosts out of this one machine: build them, cut their links, switch their power off.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Option("--name", envvar="SEGUE_LAB_NAME", help="Which lab.")]
DEFAULT = "lab"


@app.command()
def up(
    hosts: Annotated[int, typer.Option(min=1, help="How many hosts.")] = 3,
    clients: Annotated[int, typer.Option(min=0, help="How many clients.")] = 1,
    images: Annotated[str, typer.Option(help="Guest images to have ready, by comma.")] = "micro",
    name: Name = DEFAULT,
) -> None:
    """Make the lab, or add what is missing."""
    console = Console(stderr=True)
    with console.status("looking") as status:
        lab = _lab(name, status)
        lab.up(hosts, clients, [each for each in images.split(",") if each])
    chosen = "" if name == DEFAULT else f" --name {name}"
    console.print(f"The lab [bold]{name}[/] is up: {hosts} hosts, {clients} clients.", highlight=False)
    for example in (
        f"segue lab exec{chosen} client1 -- ping -c 3 host1",
        f"segue lab status{chosen}",
        f"segue lab down{chosen}",
    ):
        console.print(f"  {example}", highlight=False)


@app.command()
def down(name: Name = DEFAULT) -> None:
    """Take the lab away; nothing stays but the cache."""
    console = Console(stderr=True)
    with console.status(f"taking the lab {name} away"):
        existed = _lab(name).down()
    console.print(f"The lab {name} is gone." if existed else f"There is no lab {name}.", highlight=False)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def exec(
    host: Annotated[str, typer.Argument(help="The machine: host1, client1, fabric.")],
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after `--`.")],
    name: Name = DEFAULT,
) -> None:
    """Run a program in a machine of the lab; it gets this terminal, and its exit code is ours."""
    # The parser stops at HOST and hands the separator on.
    argv, environ = _lab(name).command(host, command[1:] if command[0] == "--" else command)
    os.execvpe(argv[0], argv, environ)


def _lab(name: str, status: Status | None = None) -> Lab:
    from segue.lab.api import Lab

    return Lab(name) if status is None else Lab(name, on_progress=status.update)
