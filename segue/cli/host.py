"""`segue host`: the hosts and what they can do."""

from __future__ import annotations

from typing import Annotated

import typer

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Hosts: what they are and what they can do.", no_args_is_help=True, add_completion=False
)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show every host of the context.

    Example: segue host list
    """
    answers, errors = fleet.load().ask_all("/host")
    rows = [
        (
            name,
            "up",
            facts["qemu_version"],
            facts["accelerator"],
            values.show_bytes(facts["memory_free_bytes"]),
            str(len(facts["guests"])),
        )
        for name, facts in sorted(answers.items())
    ]
    rows += [(name, f"no answer: {error.why}", "", "", "", "") for name, error in sorted(errors.items())]
    data = [answers[name] for name in sorted(answers)]
    output.show(data, form, rows, ("NAME", "STATE", "QEMU", "BY", "MEMORY FREE", "GUESTS"))


@app.command()
def show(name: Annotated[str, typer.Argument(help="The host.")], form: Output = Format.YAML) -> None:
    """Show all that a host says of itself.

    Example: segue host show host1
    """
    known = fleet.load()
    facts = known.host(name).call("GET", "/host")
    output.show(facts, form, [(key, str(value)) for key, value in facts.items()], ("WHAT", "VALUE"))


@app.command()
def forget(
    name: Annotated[str, typer.Argument(help="The host that was installed anew.")],
    on: Annotated[str, typer.Option(help="The host that shall forget it; empty: all others.")] = "",
) -> None:
    """Let another installation answer under a host's name.

    Example, after host3 was installed anew: segue host forget host3
    """
    known = fleet.load()
    for host in [known.host(on)] if on else [host for host in known.hosts.values() if host.name != name]:
        host.call("DELETE", f"/peers/{name}")
        output.say(f"{host.name} takes whoever answers as {name} next.")
