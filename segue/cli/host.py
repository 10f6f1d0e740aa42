"""`segue host`: the hosts and what they can do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import draining, fleet, host_health, output, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Hosts: what they are and what they can do.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(help="The host.")]
app.command()(host_health.health)
COLUMNS = ("NAME", "STATE", "CORDONED", "LABELS", "MEMORY FREE", "GUESTS")


@app.command("list")
def list_(
    selector: Annotated[
        str, typer.Option("-l", "--selector", help="With a controller: labels, as rack=r7.")
    ] = "",
    form: Output = Format.TABLE,
) -> None:
    """Show every host of the fleet, or of the context where there is no controller.

    Example: segue host list
    """
    known = fleet.load()
    if known.controller is not None:
        found = known.controller.all("/hosts" + (f"?selector={selector}" if selector else ""))
        output.show(found, form, [_row(host) for host in found], COLUMNS)
        return
    answers, errors = known.ask_all("/host")
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
    if known.controller is not None:
        facts = known.controller.call("GET", f"/hosts/{name}")
    else:
        facts = known.host(name).call("GET", "/host")
    output.show(facts, form, [(key, str(value)) for key, value in facts.items()], ("WHAT", "VALUE"))


@app.command()
def cordon(name: Name) -> None:
    """Let a host take nothing in; its guests stay.

    Example: segue host cordon host1
    """
    fleet.load().demand_controller().call("PATCH", f"/hosts/{name}", {"cordoned": True})
    output.say(f"{name} takes nothing in.")


@app.command()
def uncordon(name: Name) -> None:
    """Let a host take guests in again; those that left it do not come back by themselves.

    Example: segue host uncordon host1
    """
    fleet.load().demand_controller().call("PATCH", f"/hosts/{name}", {"cordoned": False})
    output.say(f"{name} takes guests in.")


@app.command()
def drain(
    name: Annotated[list[str], typer.Argument(help="The hosts.")],
    parallel: draining.Parallel = 4,
    max_blackout: draining.MaxBlackout = "300ms",
    force: draining.Force = False,
    dry_run: draining.DryRun = False,
    detach: draining.Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Empty hosts: they take nothing in any more, and every guest that can moves away while its clients talk to it.

    Examples:

        segue host drain host1 --dry-run

        segue host drain host1
    """
    limits = {"blackout_s": values.duration_s(max_blackout)}
    wish = {"hosts": name, "parallel": parallel, "limits": limits, "force": force}
    draining.run(wish, form, dry_run=dry_run, detach=detach)


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


def _row(host: dict[str, Any]) -> tuple[str, ...]:
    labels = " ".join(f"{label}={value}" for label, value in sorted(host["labels"].items()))
    free = values.show_bytes(host["report"]["facts"]["memory_free_bytes"]) if host["report"] else ""
    return host["name"], host["state"], "yes" if host["cordoned"] else "", labels, free, str(host["guests"])
