"""`segue host`: the hosts and what they can do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import budget, draining, fleet, host_health, host_power, host_verify, labels, output, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Hosts: what they are and what they can do.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(help="The host.")]
app.command()(host_health.health)
app.command()(host_verify.verify)
app.command()(host_power.power)
app.command("confirm-dead")(host_power.confirm_dead)
COLUMNS = ("NAME", "STATE", "CORDONED", "LABELS", "TAINTS", "MEMORY FREE", "GUESTS")


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
def cordon(name: Name, form: Output = Format.TABLE) -> None:
    """Let a host take nothing in; its guests stay.

    Example: segue host cordon host1
    """
    _said(name, {"cordoned": True}, form, "takes nothing in.")


@app.command()
def uncordon(name: Name, form: Output = Format.TABLE) -> None:
    """Let a host take guests in again; those that left it do not come back by themselves.

    Example: segue host uncordon host1
    """
    _said(name, {"cordoned": False}, form, "takes guests in.")


@app.command()
def label(name: Name, changes: labels.Changes, form: Output = Format.TABLE) -> None:
    """Give a host labels, such as its rack; they count more than those of its agent.

    Example: segue host label host1 rack=r7 feed-
    """
    _change(name, {"labels": labels.labels(changes)}, form)


@app.command()
def taint(
    name: Name,
    changes: Annotated[list[str], typer.Argument(help="As lab, or old:soft; lab- takes one away.")],
    form: Output = Format.TABLE,
) -> None:
    """Keep guests away that do not tolerate it; a soft taint only where there is another host.

    The balancer moves away those that are there and do not tolerate a hard one.

    Example: segue host taint host1 lab old-
    """
    _change(name, {"taints": labels.taints(changes)}, form)


@app.command("set")
def set_(
    name: Name,
    memory_overcommit: Annotated[
        float | None, typer.Option(min=0.1, help="How many times its memory it may promise.")
    ] = None,
    cpu_overcommit: Annotated[
        float | None, typer.Option(min=0.1, help="vCPUs that it may promise for each processor.")
    ] = None,
    link: Annotated[
        str, typer.Option(help="What migrations may use of its link, as 10gbit; 0: what its agent says.")
    ] = "",
    form: Output = Format.TABLE,
) -> None:
    """Say how much a host may promise, and what of its link is for migrations.

    Example: segue host set host1 --cpu-overcommit 6 --link 10gbit
    """
    limits: dict[str, Any] = {"memory_overcommit": memory_overcommit, "cpu_overcommit": cpu_overcommit}
    _change(name, limits | ({"link_bytes_per_s": values.rate_bytes_per_s(link)} if link else {}), form)


@app.command()
def drain(
    name: Annotated[list[str], typer.Argument(help="The hosts.")],
    parallel: draining.Parallel = 4,
    max_blackout: draining.MaxBlackout = "",
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
    limits = budget.blackout(max_blackout)
    wish = {"hosts": name, "parallel": parallel, "limits": limits, "force": force}
    draining.run(wish, form, dry_run=dry_run, detach=detach)


@app.command()
def revoke(name: Name, form: Output = Format.TABLE) -> None:
    """Remove a host from the fleet: no controller and no agent listens to it any more. Empty it first.

    It comes back by joining with a new token.

    Example: segue host revoke host4
    """
    _said(name, {"revoked": True}, form, "is removed: every agent that is connected refuses it.")


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


def _change(name: str, body: dict[str, Any], form: Format) -> None:
    host = fleet.load().demand_controller().call("PATCH", f"/hosts/{name}", body)
    output.show(host, form, [_row(host)], COLUMNS)


def _said(name: str, body: dict[str, Any], form: Format, words: str) -> None:
    host = fleet.load().demand_controller().call("PATCH", f"/hosts/{name}", body)
    output.say(f"{name} {words}")
    if form is not Format.TABLE:
        output.show(host, form)


def _row(host: dict[str, Any]) -> tuple[str, ...]:
    worn = " ".join(f"{label}={value}" for label, value in sorted(host["labels"].items()))
    free = values.show_bytes(host["report"]["facts"]["memory_free_bytes"]) if host["report"] else ""
    taints = host["record"]["taints"] if host["record"] else ()
    kept = [taint["name"] if taint["hard"] else f"{taint['name']}:soft" for taint in taints]
    cordoned = "yes" if host["cordoned"] else ""
    return host["name"], host["state"], cordoned, worn, " ".join(kept), free, str(host["guests"])
