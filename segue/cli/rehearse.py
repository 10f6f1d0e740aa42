"""`segue rehearse`: plays a maintenance or a failure through before it is real. Nothing is touched but a log."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from segue.cli import fleet as contexts
from segue.cli import fleet_file, fleet_live, maintenance_file, output, story_file, values
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused
from segue.model.fleet import Fleet
from segue.model.maintenance import Order
from segue.model.task import TaskKind
from segue.policy import drain as draining
from segue.sim import decided, many, rehearsal, scenario, tonight
from segue.sim.many import Verdict
from segue.sim.rehearsal import Result

BROKEN: Final = 1
app = typer.Typer(add_completion=False)


Story = Annotated[str, typer.Argument(help="A story that comes with segue, or a file; see --list.")]
Seed = Annotated[int, typer.Option(help="A fleet, wishes and faults drawn from this number.")]
Seeds = Annotated[int, typer.Option(help="So many seeds, from --seed on.", min=1)]
Jobs = Annotated[int, typer.Option(help="Processes for many seeds; 0: one for each processor.")]
FleetFile = Annotated[str, typer.Option(help="A copy of a real fleet, as `segue plan` reads it.")]
Context = Annotated[bool, typer.Option("--context", help="The fleet as its controller knows it now.")]
Drain = Annotated[list[str] | None, typer.Option(help="With --fleet: this host is emptied. Again.")]
InDomain = Annotated[list[str] | None, typer.Option(help="With --fleet: a domain is, as rack=r1. Again.")]
Tonight = Annotated[
    str,
    typer.Option(
        help="With --fleet: the order in this file is carried out; with --context: or of this name."
    ),
]
Log = Annotated[bool, typer.Option("--log", help="Show everything that happened.")]
List = Annotated[bool, typer.Option("--list", help="Show the stories that come with segue.")]


@app.command()
def rehearse(
    story: Story = "",
    seed: Seed = -1,
    seeds: Seeds = 1,
    jobs: Jobs = 0,
    fleet: FleetFile = "",
    context: Context = False,
    drain: Drain = None,
    domain: InDomain = None,
    maintenance: Tonight = "",
    log: Log = False,
    list_: List = False,
    form: Output = Format.TABLE,
) -> None:
    """Play a maintenance or failures through on simulated hosts, with the programs that would do it for real.

    Time is virtual: an hour passes in a second. Checkers look on: never two runnable copies of a guest, none
    without an owner, no host over capacity, every drain ends or says why, nothing left over. Exit code 1: one of
    these promises was broken; then the same seed shows it again, as often as you like.

    Examples:

        segue rehearse leader-dies-in-a-drain --log

        segue rehearse --seed 1 --seeds 1000

        segue rehearse --fleet fleet.yaml --drain host3

        segue rehearse --fleet fleet.yaml --maintenance feed-a.yaml

        segue rehearse --context --maintenance feed-a
    """
    if list_:
        rows = [(name, story_file.tells(name)) for name in story_file.names()]
        output.show([{"name": name, "tells": tells} for name, tells in rows], form, rows, ("STORY", "TELLS"))
        return
    if sum((bool(story), seed >= 0, bool(fleet), context)) != 1:
        raise _unclear(
            "Give a story, --seed, --fleet or --context; `segue rehearse --list` shows the stories."
        )
    if seed >= 0 and seeds > 1:
        _show_seeds(list(many.verdicts(seed, seeds, jobs=jobs)), form)
    elif fleet or context:
        read = fleet_file.load(fleet)[0] if fleet else _live()
        order = _order(maintenance, live=context) if maintenance else None
        _show_result(_of_fleet(read, drain or [], domain or [], order), form, log=log)
    else:
        played = scenario.drawn(seed) if seed >= 0 else story_file.load(story)
        _show_result(rehearsal.play(played), form, log=log)


def _live() -> Fleet:
    live = fleet_live.seen(contexts.load().demand_controller())
    for what in live.unknown:
        output.say(f"Not as it will be: {what}.")
    return live.fleet


def _order(name: str, *, live: bool) -> Order:
    """From a file, or as the controller keeps it."""
    if not live or Path(name).exists():
        return maintenance_file.load(name)
    kept = contexts.load().demand_controller().call("GET", f"/maintenances/{name}")
    order: Order = msgspec.convert(kept["maintenance"]["order"], Order)
    return order


def _of_tonight(read: Fleet, order: Order) -> Result:
    scope, known = order.scope, {host.name for host in read.hosts}
    if unknown := set(scope.hosts) - known:
        raise _unclear(f"There is no host {', '.join(sorted(unknown))} in this fleet.")
    _say_unplayed(read)
    tonight_ = tonight.adapted(order)
    for what in tonight_.said:
        output.say(f"Not as it will be: {what}.")
    return rehearsal.play(scenario.of_fleet(read, (), "fleet", tonight_.order))


def _of_fleet(read: Fleet, hosts: list[str], domains: list[str], order: Order | None) -> Result:
    if order is not None:
        if hosts or domains:
            raise _unclear("Give --maintenance, or --drain and --domain.")
        return _of_tonight(read, order)
    emptied = list(hosts)
    for each in domains:
        emptied += draining.hosts_of(read, *fleet_file.pair(each))
    if unknown := set(emptied) - {host.name for host in read.hosts}:
        raise _unclear(f"There is no host {', '.join(sorted(unknown))} in this fleet.")
    if not emptied:
        raise _unclear("Name what is done: --drain host3, --domain rack=r1, or --maintenance feed-a.yaml.")
    _say_unplayed(read)
    return rehearsal.play(scenario.of_fleet(read, tuple(dict.fromkeys(emptied)), "fleet"))


def _say_unplayed(read: Fleet) -> None:
    for what in decided.unplayed(read):
        output.say(f"Not as it will be: {what}.")


def _show_result(result: Result, form: Format, *, log: bool) -> None:
    if log:
        output.say("\n".join(result.lines))
    rows = [
        (
            migration.guest,
            f"{migration.source} > {migration.target}",
            str(migration.stage),
            values.show_ms(migration.outcome.total_s),
            values.show_ms(result.blackouts_s.get(migration.guest, 0.0)),
            migration.failure.why if migration.failure else "",
        )
        for migration in result.migrations
    ]
    output.show(_plain(result), form, rows, ("GUEST", "MOVE", "ENDED", "TIME", "STOOD", "WHY"))
    _show_works(result)
    for task in result.tasks:
        if task.kind is not TaskKind.DRAIN:
            continue
        output.say(f"drain of {', '.join(task.wish['hosts'])}: {task.state}, {task.note}")
        for guest, why in sorted(task.staying.items()):
            output.say(f"  {guest} stays: {why}")
    for wrong in result.wrong:
        output.say(str(wrong))
    output.say(f"{result.seconds:.0f} s rehearsed, {len(result.wrong)} promises broken.")
    raise typer.Exit(BROKEN if result.wrong else 0)


def _show_works(result: Result) -> None:
    """Maintenances, and each of their hosts: when it began after the first, and how long it took."""
    for task in result.tasks:
        if task.kind is not TaskKind.MAINTENANCE:
            continue
        name = str(task.wish["maintenance"])
        output.say(f"maintenance {name}: {task.state}, {task.note}")
        works = [work for key, work in result.works if key.startswith(f"{name}/")]
        first_s = min((work.begun_s for work in works if work.begun_s), default=0.0)
        for work in sorted(works, key=lambda work: (not work.begun_s, work.begun_s)):
            told = f"  {work.host}: {work.state}"
            if work.begun_s and work.ended_s:
                after_s, took = work.begun_s - first_s, values.show_duration(work.ended_s - work.begun_s)
                told += (
                    f", begun {f'after {values.show_duration(after_s)}' if after_s else 'first'}, took {took}"
                )
            output.say(f"{told}; {work.why}" if work.why else told)


def _plain(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "seed": result.seed,
        "seconds": result.seconds,
        "digest": result.digest,
        "wrong": [asdict(wrong) for wrong in result.wrong],
        "blackouts_s": result.blackouts_s,
        "migrations": [
            {
                "guest": migration.guest,
                "source": migration.source,
                "target": migration.target,
                "stage": migration.stage.value,
                "total_s": migration.outcome.total_s,
                "why": migration.failure.why if migration.failure else "",
            }
            for migration in result.migrations
        ],
        "tasks": [
            {
                "kind": task.kind.value,
                "wish": dict(task.wish),
                "state": task.state.value,
                "note": task.note,
                "staying": dict(task.staying),
            }
            for task in result.tasks
        ],
        "maintenances": [
            {
                "host": key,
                "state": work.state.value,
                "why": work.why,
                "begun_s": work.begun_s,
                "ended_s": work.ended_s,
                "steps": [asdict(passed) for passed in work.passed],
            }
            for key, work in result.works
        ],
    }


def _show_seeds(found: list[Verdict], form: Format) -> None:
    broken = [verdict for verdict in found if verdict.wrong]
    rows = [(str(verdict.seed), verdict.wrong[0], verdict.replay) for verdict in broken]
    data = [asdict(verdict) for verdict in found]
    if rows or form is not Format.TABLE:
        output.show(data, form, rows, ("SEED", "BROKEN", "SHOW IT AGAIN"))
    moves: Counter[str] = sum((Counter(verdict.migrations) for verdict in found), Counter())
    ended = ", ".join(f"{count} {stage}" for stage, count in sorted(moves.items()))
    hours = sum(verdict.seconds for verdict in found) / 3600
    output.say(
        f"{len(found)} seeds, {hours:.1f} h rehearsed; migrations: {ended}; {len(broken)} seeds broken."
    )
    raise typer.Exit(BROKEN if broken else 0)


def _unclear(todo: str) -> Refused:
    return Refused(
        what="nothing is rehearsed", why="it is not clear what is to be played", todo=todo, kind=Kind.USAGE
    )
