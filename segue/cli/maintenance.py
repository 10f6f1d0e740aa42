"""`segue maintenance`: plan, start, watch, pause, resume, abort, report; the work itself is the controller's."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import msgspec
import typer

from segue.cli import fleet, maintenance_calendar, maintenance_file, maintenance_output, output, task, values
from segue.cli.central import Controller
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Work on hosts while their guests run elsewhere: plan, start, watch, pause, resume, abort, report.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The maintenance, as its file calls it.")]
COLUMNS: Final = ("NAME", "STATE", "HOSTS", "WINDOW", "TITLE")
CALENDAR_COLUMNS: Final = ("BEGINS", "WOULD END", "NAME", "STATE", "HOSTS", "GUESTS THAT MOVE", "TITLE")
BATCH_COLUMNS: Final = ("BATCH", "HOSTS", "BEGINS", "TAKES", "MOVES", "LONGEST BLACKOUT")
HOST_COLUMNS: Final = ("HOST", "STATE", "STEP", "TOOK", "MOVES", "LONGEST BLACKOUT", "NOTE")
ENDED: Final = frozenset({"done", "skipped", "failed", "aborted"})


@app.command()
def plan(
    file: Annotated[str, typer.Argument(help="The order, YAML or JSON; - is stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only foresee it; nothing is kept.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Say what a maintenance would do, when it would end and what is missing for it, and keep it.

    Exit code 4: something is missing. It is kept all the same, to be begun once that is mended.

    Examples:

        segue maintenance plan feed-a.yaml --dry-run

        segue maintenance plan feed-a.yaml
    """
    order = msgspec.to_builtins(maintenance_file.load(file))
    controller = fleet.load().demand_controller()
    foreseen = controller.call("POST", "/maintenances/plan", order)
    _show_foreseen(foreseen, form)
    if not dry_run:
        controller.call("PUT", f"/maintenances/{order['name']}", order)
        output.say(f"Kept.  Begin it: segue maintenance start {order['name']}")
    raise typer.Exit(4 if foreseen["missing"] else 0)


@app.command()
def start(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Although something is missing: who cannot begin is left out.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it has begun.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Begin a planned maintenance, now or when its window begins, and follow it.

    Examples:

        segue maintenance start feed-a

        segue maintenance start feed-a --detach
    """
    controller = fleet.load().demand_controller()
    controller.call("POST", f"/maintenances/{name}/start", {"force": force})
    if detach:
        output.say(f"Begun.  Watch: segue maintenance watch {name}")
        return
    raise typer.Exit(_follow(controller, name, form))


@app.command()
def watch(name: Name, form: Output = Format.TABLE) -> None:
    """Follow a maintenance to its end. Ctrl-C only ends the watching.

    Example: segue maintenance watch feed-a
    """
    raise typer.Exit(_follow(fleet.load().demand_controller(), name, form))


@app.command()
def pause(name: Name) -> None:
    """Let no host begin its next step; commands and moves that are under way go on.

    Example: segue maintenance pause feed-a
    """
    _steer(name, "pause")


@app.command()
def resume(name: Name) -> None:
    """Let a paused maintenance go on.

    Example: segue maintenance resume feed-a
    """
    _steer(name, "resume")


@app.command()
def abort(name: Name) -> None:
    """End a maintenance: commands under way end first, hosts that were changed stay cordoned, others come back.

    Example: segue maintenance abort feed-a
    """
    _steer(name, "cancel")


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all maintenances: planned, under way, ended.

    Example: segue maintenance list
    """
    found = fleet.load().demand_controller().all("/maintenances")
    output.show(found, form, [_row(each) for each in found], COLUMNS)


@app.command()
def report(name: Name, form: Output = Format.TABLE) -> None:
    """Show what ran where, what failed, what changed on hosts, and what each guest noticed.

    Examples:

        segue maintenance report feed-a

        segue maintenance report feed-a -o json
    """
    shown = fleet.load().demand_controller().call("GET", f"/maintenances/{name}")
    output.show(shown, form, [_host_row(shown, host) for host in shown["hosts"]], HOST_COLUMNS)
    if form is Format.TABLE:
        output.say(f"{shown['state']}. {shown['note']}")
        for line in _details(shown):
            output.say(line)


@app.command()
def calendar(
    guest: Annotated[str, typer.Option("--guest", help="Only what moves this guest.")] = "",
    form: Output = Format.TABLE,
) -> None:
    """Show what is under way and what is planned, by time: when it would end, which guests move, what is missing.

    Exit code 4: something is missing for one of them, or two would be on one host at once.

    Examples:

        segue maintenance calendar

        segue maintenance calendar --guest web1
    """
    entries = maintenance_calendar.entries(fleet.load().demand_controller(), guest)
    output.show(entries, form, [maintenance_calendar.row(entry) for entry in entries], CALENDAR_COLUMNS)
    told = [f"{entry['name']}: {why}" for entry in entries for why in entry["missing"]]
    for line in told if form is Format.TABLE else []:
        output.say(f"missing: {line}")
    raise typer.Exit(4 if told else 0)


@app.command("procedures")
def procedures_(
    name: Annotated[str, typer.Argument(help="Show this one, as YAML; none: all names.")] = "",
) -> None:
    """Show the ready-made procedures: an order names one, as `procedure: security-updates`, or has its steps changed.

    Examples:

        segue maintenance procedures

        segue maintenance procedures security-updates
    """
    if name:
        typer.echo(maintenance_file.ready_made(name), nl=False)
        return
    for known in maintenance_file.names():
        typer.echo(f"{known}: {maintenance_file.purpose(known)}")


@app.command()
def remove(name: Name) -> None:
    """Forget a maintenance that is not under way, with its report.

    Example: segue maintenance remove feed-a
    """
    fleet.load().demand_controller().call("DELETE", f"/maintenances/{name}")
    output.say(f"{name} is forgotten.")


def _steer(name: str, wish: str) -> None:
    controller = fleet.load().demand_controller()
    shown = controller.call("GET", f"/maintenances/{name}")
    number = shown["maintenance"]["task"]
    if not number:
        output.say(f"{name} was not begun yet.")
        raise typer.Exit(4)
    if shown["state"] not in maintenance_calendar.OPEN:
        output.say(f"{name} has ended: it is {shown['state']}.  Report: segue maintenance report {name}")
        raise typer.Exit(4)
    task_ = controller.call("POST", f"/tasks/{number}/{wish}")
    output.say(f"{name} is {task_['state']}.")


def _follow(controller: Controller, name: str, form: Format) -> int:
    """Says what changes until it has ended; the exit code."""
    number = controller.call("GET", f"/maintenances/{name}")["maintenance"]["task"]
    if not number:
        output.say(f"{name} was not begun yet.")
        return 4
    told = ""
    try:
        for found in controller.follow(number):
            if (line := f"{name}: {found['state']}. {found['note']}") != told:
                output.say(line)
                told = line
    except KeyboardInterrupt:
        output.say(f"Detached; the maintenance goes on.  Watch: segue maintenance watch {name}")
        output.say(f"End it: segue maintenance abort {name}")
        return output.DETACHED
    if form is not Format.TABLE:
        output.show(controller.call("GET", f"/maintenances/{name}"), form)
    else:
        output.say(f"Report: segue maintenance report {name}")
    return task.CODES[found["state"]]


def _show_foreseen(foreseen: dict[str, Any], form: Format) -> None:
    rows = [
        (
            str(number),
            ", ".join(batch["hosts"]),
            values.show_time(foreseen["begins_s"] + batch["begins_s"]),
            values.show_duration(batch["ends_s"] - batch["begins_s"]),
            str(batch["moves"]),
            values.show_ms(batch["blackout_s"]) if batch["moves"] else "",
        )
        for number, batch in enumerate(foreseen["batches"], start=1)
    ]
    output.show(foreseen, form, rows, BATCH_COLUMNS)
    if form is not Format.TABLE:
        return
    if foreseen["batches"]:
        took = values.show_duration(foreseen["ends_s"] - foreseen["begins_s"])
        output.say(f"It would end at {values.show_time(foreseen['ends_s'])}, after {took}.")
    for line in foreseen["notes"]:
        output.say(f"note: {line}")
    for line in foreseen["missing"]:
        output.say(f"missing: {line}")


def _row(shown: dict[str, Any]) -> tuple[str, ...]:
    order = shown["maintenance"]["order"]
    scope = order["scope"]
    labels = " ".join(f"{key}={value}" for key, value in scope["labels"].items())
    hosts = ", ".join(scope["hosts"]) or labels or f"{scope['label']}={scope['value']}"
    return shown["name"], shown["state"], hosts, _window(order["window"]), order["title"]


def _window(window: dict[str, float]) -> str:
    if not any(window.values()):
        return "any time"
    begins, ends = (time.strftime("%m-%d %H:%M", time.localtime(s)) if s else "" for s in window.values())
    return f"{begins} to {ends}"


def _host_row(shown: dict[str, Any], host: dict[str, Any]) -> tuple[str, ...]:
    steps, outages = shown["maintenance"]["order"]["procedure"], host["outages"]
    step = steps[host["step"]]
    over = host["state"] in ENDED
    took_s = (host["ended_s"] or time.time()) - host["begun_s"] if host["begun_s"] else 0.0
    return (
        host["host"],
        host["state"],
        ""
        if over
        else f"{host['step'] + 1} of {len(steps)}: {step['kind']} {step['name']} {host['progress']}".strip(),
        values.show_duration(took_s) if host["begun_s"] else "",
        str(len(outages)),
        values.show_ms(max(outage["blackout_s"] for outage in outages)) if outages else "",
        host["why"],
    )


def _details(shown: dict[str, Any]) -> list[str]:
    lines = []
    for host in shown["hosts"]:
        for passed in host["passed"]:
            took = passed["ended_s"] - passed["begun_s"]
            mark = "" if passed["ok"] else "FAILED: "
            lines.append(f"{host['host']}  {passed['title']}  {took:.1f} s  {mark}{passed['note']}".rstrip())
            lines += maintenance_output.shown(passed["output"])
        lines += [f"{host['host']}  changed: {change}" for change in host["changes"]]
        for outage in host["outages"]:
            seen = f", a client waited {values.show_ms(outage['outage_s'])}" if outage["outage_s"] else ""
            lines.append(
                f"{outage['guest']}  {outage['source']} -> {outage['target']}"
                f"  blackout {values.show_ms(outage['blackout_s'])}{seen}"
            )
    return lines
