"""`segue migrate`: moves a running guest, shows its three stages, and says what its client saw."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Any

import typer

from segue.cli import budget, evacuate, fleet, output, task, values
from segue.cli.fleet import Host
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused
from segue.model.integrity import Verify
from segue.model.ladder import OverBudget

app = typer.Typer(add_completion=False)
Probes = Annotated[
    list[str] | None,
    typer.Option(
        help="Watch from this machine what a client sees, as KIND:PORT: udp:7000, tcp:7001, http:8080, redis:6379. "
        "May be given several times."
    ),
]

Name = Annotated[str, typer.Argument(help="The guest; none with --all-of.")]
To = Annotated[
    list[str] | None,
    typer.Option(
        help="The host; none: the controller chooses. With --all-of any number of hosts; none: all that fit."
    ),
]
AllOf = Annotated[
    str, typer.Option(help="Move every running guest of this host, in the order that empties it soonest.")
]
Parallel = Annotated[
    int, typer.Option(min=1, max=16, help="With --all-of: so many moves at once on the host's link.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check and forecast.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return once it has begun.")]


@app.command()
def migrate(
    name: Name = "",
    to: To = None,
    all_of: AllOf = "",
    parallel: Parallel = 2,
    max_blackout: budget.MaxBlackout = "",
    deadline: budget.Deadline = "1h",
    max_bandwidth: budget.MaxBandwidth = "0",
    max_slowdown: budget.MaxSlowdown = "50%",
    ladder: budget.Ladder = "balanced",
    over_budget: budget.Over = OverBudget.ABORT,
    max_stall: budget.MaxStall = "10s",
    max_rounds: budget.MaxRounds = 2000,
    post_copy_after: budget.PostCopyAfter = None,
    verify: budget.Comparing = Verify.SAMPLE,
    notice: budget.Notice = "0",
    storage_post_copy: budget.StoragePostcopy = False,
    probe: Probes = None,
    dry_run: DryRun = False,
    force: budget.Force = False,
    detach: Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Move a running guest to another host while its clients keep talking to it.

    Examples:

        segue migrate web1 --to host2

        segue migrate web1 --to host2 --max-blackout 50ms --probe udp:7000

        segue migrate web1 --to host2 --deadline 2m --max-slowdown 80% --ladder firm

        segue migrate --all-of host1 --to host2 --to host3

    Exit code: 0 moved, 1 aborted (it runs on the source; with --all-of: not all were moved), 2 to 8 refused (nothing
    was begun), 9 in doubt, 130 detached by Ctrl-C; see docs/reference/exit-codes.md.
    """
    target = _demand_sense(name, to or [], all_of, watched=bool(probe) or detach, probed=bool(probe))
    sizes = (max_blackout, deadline, max_bandwidth, max_slowdown, ladder)
    patience = (over_budget, max_stall, max_rounds)
    limits = budget.limits(*sizes, *patience, verify, notice, post_copy_after, storage_post_copy)
    if all_of:
        order = evacuate.Order(fleet.load().host(all_of), limits, parallel, form, force)
        evacuate.run(order, to or [], dry_run=dry_run)
    elif not target:
        _to_wherever(name, limits, form, dry_run=dry_run, force=force, detach=detach)
    else:
        wish = {"to": target, "limits": limits, "force": force}
        _carry_out(name, wish, probe or [], form, dry_run=dry_run, detach=detach)


def _demand_sense(name: str, to: list[str], all_of: str, *, watched: bool, probed: bool) -> str:
    """The target of one guest; empty for all of a host. Raises Refused for what contradicts itself."""
    why = ""
    if all_of and name:
        why = "a guest and --all-of were both given"
    elif all_of and watched:
        why = "--probe and --detach are for one guest"
    elif not all_of and (not name or len(to) > 1):
        why = "one guest and one --to are needed, or --all-of"
    elif not all_of and not to and fleet.load().controller is None:
        why = "no --to was given, and the context has no controller that could choose one"
    elif not all_of and not to and probed:
        why = "--probe needs --to"
    if why:
        raise Refused(
            what="nothing is moved",
            why=why,
            todo="Write `segue migrate GUEST --to HOST` or `segue migrate --all-of HOST`.",
            kind=Kind.USAGE,
        )
    return to[0] if to and not all_of else ""


def _to_wherever(
    name: str, limits: dict[str, Any], form: Format, *, dry_run: bool, force: bool, detach: bool
) -> None:
    """The controller chooses the target, and has it moved there."""
    controller = fleet.load().demand_controller()
    if dry_run:
        choice = controller.call("POST", "/placements", {"guest": name})
        refused = [(host, "no", ", ".join(why)) for host, why in sorted(choice["refused"].items())]
        chosen = [(choice["host"], "yes", choice["why"])] if "host" in choice else []
        output.show(choice, form, chosen + refused, ("HOST", "TAKES IT", "WHY"))
        raise typer.Exit(0 if chosen else 4)
    begun = controller.call("POST", f"/guests/{name}/migrations", {"limits": limits, "force": force})
    if detach:
        output.say(f"Task {begun['id'][:8]}.  Watch: segue task watch {begun['id'][:8]}")
        return
    raise typer.Exit(task.follow(controller, begun["id"], form))


def _carry_out(
    name: str,
    wish: dict[str, Any],
    probe: list[str],
    form: Format,
    *,
    dry_run: bool,
    detach: bool,
) -> None:
    known = fleet.load()
    host, guest = known.find(name)
    known.host(wish["to"])
    path = f"/guests/{name}"
    if dry_run:
        _show_forecast(host.call("POST", f"{path}/forecast", wish, within_s=fleet.BEGIN_S), form)
    elif detach:
        _show_begun(_begin(host, guest["name"], wish), form)
    else:
        from segue.cli import probing

        begin = partial(_begin, host, guest["name"], wish)
        raise typer.Exit(probing.follow_beside(host, guest, probe, begin, _say_detached, form))


def _begin(host: Host, name: str, wish: dict[str, Any]) -> dict[str, Any]:
    """The record. Where the forecast says no, a person at a terminal is asked."""
    path = f"/guests/{name}/migrations"
    try:
        return dict(host.call("POST", path, wish, within_s=fleet.BEGIN_S))
    except Refused as error:
        if "--force" not in error.todo or not sys.stdin.isatty():
            raise
        output.say(f"{error.what}: {error.why}.")
    typer.confirm("Try it all the same? It is taken back if the budget cannot be kept.", abort=True, err=True)
    return dict(host.call("POST", path, {**wish, "force": True}, within_s=fleet.BEGIN_S))


def _say_detached(number: str) -> None:
    output.say(f"Detached; the migration goes on.  Watch: segue migration watch {number[:8]}")
    output.say(f"Take it back (until the handoff): segue migration cancel {number[:8]}")


def _show_begun(record: dict[str, Any], form: Format) -> None:
    row = (record["id"][:8], record["guest"], record["source"], record["target"], record["stage"])
    output.show(record, form, [row], ("ID", "GUEST", "FROM", "TO", "STAGE"))


def _show_forecast(forecast: dict[str, Any], form: Format) -> None:
    def span(what: str, factor: float, unit: str) -> str:
        low, high = forecast[f"{what}_low_s"] * factor, forecast[f"{what}_high_s"] * factor
        return f"{forecast[f'{what}_s'] * factor:.1f} {unit} ({low:.1f} to {high:.1f})"

    rows = [
        ("total time", span("total", 1, "s")),
        ("blackout", span("blackout", 1e3, "ms")),
        ("inside the budget", "yes" if forecast["converges"] else "no"),
        ("basis", forecast["basis"]),
        ("memory held", values.show_bytes(forecast["memory_bytes"])),
        ("guest writes", f"{values.show_bytes(forecast['dirty_bytes_per_s'])}/s"),
        ("path", f"{values.show_bytes(forecast['link_bytes_per_s'])}/s"),
    ]
    output.show(forecast, form, rows, ("FORECAST", ""))
