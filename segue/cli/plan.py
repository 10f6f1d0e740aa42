"""`segue plan`: what the planners would do with a fleet that is described in a file. Nothing is moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Annotated, Any, Final

import msgspec
import typer

from segue.cli import fleet as context
from segue.cli import fleet_file, output, values
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused
from segue.model.balance import BalanceSettings, Temper
from segue.model.fleet import Amounts, Fleet, FleetGuest
from segue.model.plan import Audited, Drainable, Fault, Move, NoHost, Plan, Weight
from segue.policy import audit as auditing
from segue.policy import balance as balancing
from segue.policy import drain as draining
from segue.policy import placement
from segue.policy.drain import Orders
from segue.policy.timetable import Slots

NOT_ALL: Final = 1
AUDITED: Final = ("WHAT", "HOSTS", "MOVES", "TIME", "LONGEST BLACKOUT", "WHAT STAYS")
NO_HOST: Final = 4

app = typer.Typer(
    help="Plans for a fleet described in a file: where guests go, how hosts are emptied, what levels the load.",
    no_args_is_help=True,
    add_completion=False,
)
FleetPath = Annotated[
    str, typer.Option("--fleet", help="The fleet, as YAML or JSON; - is stdin.", envvar="SEGUE_FLEET")
]
PerHost = Annotated[int, typer.Option(help="Moves at once from a host, and to a host; 0: no limit.", min=0)]


@app.command()
def place(
    guest: Annotated[str, typer.Argument(help="A guest of the file, or a new one with --memory.")],
    path: FleetPath,
    memory: Annotated[str, typer.Option(help="A new guest: its memory, such as 4GiB.")] = "",
    vcpus: Annotated[float, typer.Option(help="A new guest: its virtual processors.")] = 1.0,
    label: Annotated[list[str] | None, typer.Option(help="A new guest: a label, as app=web. Again.")] = None,
    form: Output = Format.TABLE,
) -> None:
    """Choose a host for a guest; where there is none, say why for every host.

    A guest that is on a host is moved: the forecast of that counts. One that is on none is started.

    Example: segue plan place web7 --fleet fleet.yaml --memory 4GiB --vcpus 2 --label app=web
    """
    fleet = _load(path)
    chosen = placement.place(_guest(fleet, guest, memory, vcpus, label or []), fleet)
    if isinstance(chosen, NoHost):
        reasons = [(name, "; ".join(why)) for name, why in chosen.refused.items()]
        output.show(_plain(asdict(chosen)), form, reasons, ("HOST", "WHY NOT"))
        output.say(f"No host takes {guest}.")
        raise typer.Exit(NO_HOST)
    rows = [(chosen.host, f"{chosen.score:.4f}", chosen.why)]
    rows += [(name, f"{score:.4f}", "next best") for name, score in chosen.others]
    rows += [(name, "", "not: " + "; ".join(why)) for name, why in chosen.refused.items()]
    output.show(_plain(asdict(chosen)), form, rows, ("HOST", "COST", "WHY"))


@app.command()
def drain(
    path: FleetPath,
    hosts: Annotated[list[str] | None, typer.Argument(help="Hosts to be emptied.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="All hosts of a domain, as rack=r1. Again.")
    ] = None,
    per_host: PerHost = 4,
    make_room: Annotated[
        bool, typer.Option(help="Guests of other hosts may move out of the way, where nothing else helps.")
    ] = True,
    form: Output = Format.TABLE,
) -> None:
    """Plan how hosts are emptied: waves of moves with their forecasts, and why a guest stays.

    No guest goes to a host that is to be emptied too. Exit code 1: some guests stay.

    Example: segue plan drain --fleet fleet.yaml --domain rack=r1
    """
    fleet = _load(path)
    emptied = list(hosts or [])
    for each in domain or []:
        emptied += draining.hosts_of(fleet, *fleet_file.pair(each))
    if not emptied:
        raise Refused(
            what="nothing is drained",
            why="neither a host nor a domain was named",
            todo="Name hosts, or a domain as in --domain rack=r1.",
            kind=Kind.USAGE,
        )
    orders = Orders(Slots(per_source=per_host, per_target=per_host), make_room=make_room)
    made = draining.plan(fleet, set(emptied), orders)
    _show_plan(made, _plain(asdict(made)), form)
    raise typer.Exit(NOT_ALL if made.staying else 0)


@app.command()
def balance(
    path: FleetPath,
    moves: Annotated[int, typer.Option(help="At most so many moves.", min=1)] = 20,
    margin: Annotated[float, typer.Option(help="A move gains so many times its cost.", min=0)] = 1.5,
    start_at: Annotated[float, typer.Option(help="Imbalance from which it acts.", min=0)] = 0.10,
    stop_at: Annotated[float, typer.Option(help="Imbalance at which it stops.", min=0)] = 0.05,
    form: Output = Format.TABLE,
) -> None:
    """Plan moves that level the load and mend broken rules; say for each why.

    A file has no yesterday: cool-downs and budgets, which the balancer keeps over time, do not bind here.

    Example: segue plan balance --fleet fleet.yaml --moves 5
    """
    fleet = _load(path)
    settings = BalanceSettings(moves_most=moves, margin=margin, start_at=start_at, stop_at=stop_at, looks=1)
    made, _ = balancing.plan(fleet, Temper(), 0.0, settings)
    _show_plan(made.plan, _plain(asdict(made)), form)
    if form is Format.TABLE:
        output.say(f"Imbalance {made.before:.4f}, then {made.after:.4f}. {made.why}".rstrip())


@app.command()
def audit(
    path: Annotated[
        str,
        typer.Option(
            "--fleet",
            help="The fleet, as YAML or JSON; - is stdin. Empty: ask the controller.",
            envvar="SEGUE_FLEET",
        ),
    ] = "",
    per_host: PerHost = 4,
    failing: Annotated[bool, typer.Option("--failing", help="Show only what could not be emptied.")] = False,
    last: Annotated[
        bool, typer.Option("--last", help="What the controller found when it last asked, once a day.")
    ] = False,
    form: Output = Format.TABLE,
) -> None:
    """Ask of every host and failure domain whether it could be emptied now, and if not, why.

    Exit code 1: not all could.

    Examples:

        segue plan audit --failing

        segue plan audit --fleet fleet.yaml
    """
    if last:
        raise typer.Exit(_show_last(form, path))
    if path:
        orders = Orders(Slots(per_source=per_host, per_target=per_host))
        answers = list(auditing.audit(_load(path), orders))
    else:
        found = context.load().demand_controller().call("POST", f"/drains/audit?per_host={per_host}")
        answers = msgspec.convert(found, list[Drainable])
    shown = [answer for answer in answers if answer.staying or not failing]
    data = [_plain(asdict(answer)) for answer in shown]
    output.show(data, form, [row for answer in shown for row in _audited(answer)], AUDITED)
    stuck = sum(bool(answer.staying) for answer in answers)
    output.say(f"{len(answers) - stuck} of {len(answers)} could be emptied now.")
    raise typer.Exit(NOT_ALL if stuck else 0)


def _show_last(form: Format, path: str) -> int:
    if path:
        raise Refused(
            what="nothing was asked",
            why="--last is of the controller, --fleet of a file",
            todo="Give one of them.",
            kind=Kind.USAGE,
        )
    found = context.load().demand_controller().call("GET", "/drains/audit")
    made = msgspec.convert(found, Audited)
    output.show(found, form, [row for answer in made.failing for row in _audited(answer)], AUDITED)
    output.say(
        f"{made.asked - made.failed} of {made.asked} could be emptied on {values.show_time(made.at_s)}."
    )
    return NOT_ALL if made.failed else 0


def _load(path: str) -> Fleet:
    fleet, warnings = fleet_file.load(path)
    for fault in warnings:
        if fault.weight is Weight.WARNING:
            output.say(_said(fault))
    return fleet


def _said(fault: Fault) -> str:
    return f"warning: {fault.what}: {fault.why}. {fault.todo}"


def _guest(fleet: Fleet, name: str, memory: str, vcpus: float, labels: Iterable[str]) -> FleetGuest:
    known = next((guest for guest in fleet.guests if guest.name == name), None)
    if known and memory:
        raise _refused(name, "the file has a guest of that name already", "Leave --memory out, or rename it.")
    if known:
        if known.pinned or known.moving_to:
            why = (
                f"it must not move: {known.pinned}"
                if known.pinned
                else f"it is on its way to {known.moving_to}"
            )
            raise _refused(name, why, "Choose another guest.")
        return known
    if not memory:
        raise _refused(name, "the file has no guest of that name", "Describe it there, or say --memory.")
    needs = Amounts(values.size_bytes(memory), vcpus)
    return replace(FleetGuest(name, needs), labels=dict(fleet_file.pair(each) for each in labels))


def _refused(name: str, why: str, todo: str) -> Refused:
    return Refused(what=f"{name} is not placed", why=why, todo=todo, kind=Kind.USAGE)


def _show_plan(made: Plan, data: Any, form: Format) -> None:
    rows = [
        (str(number), *_row(move)) for number, wave in enumerate(made.waves, start=1) for move in wave.moves
    ]
    rows += [("", guest, "", "stays", "", "", "", why) for guest, why in made.staying.items()]
    columns = ("WAVE", "GUEST", "FROM", "TO", "BEGINS", "TAKES", "BLACKOUT", "WHY")
    output.show(data, form, rows, columns)
    if form is Format.TABLE and made.moves:
        output.say(
            f"{len(made.moves)} moves in {values.show_duration(made.total_s)}; "
            f"the links alone need {values.show_duration(made.least_s)}."
        )


def _row(move: Move) -> tuple[str, ...]:
    slow = "" if move.outlook.converges else " or more: it writes too fast"
    return (
        move.guest,
        move.source,
        move.target,
        f"{move.begins_s:.0f} s",
        f"{move.ends_s - move.begins_s:.0f} s",
        f"{move.outlook.blackout_s * 1e3:.0f} ms{slow}",
        move.why if not move.gain else f"{move.why}; gain {move.gain:.3f}, cost {move.cost:.3f}",
    )


def _audited(answer: Drainable) -> list[tuple[str, ...]]:
    first = (
        f"{answer.label}={answer.value}",
        str(len(answer.hosts)),
        str(answer.moves),
        values.show_duration(answer.total_s),
        values.show_ms(answer.blackout_s),
    )
    stays = [f"{guest}: {why}" for guest, why in answer.staying.items()] or [""]
    return [(*first, stays[0]), *(("", "", "", "", "", why) for why in stays[1:])]


def _plain(data: Any) -> Any:
    """What YAML and JSON can say."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data
