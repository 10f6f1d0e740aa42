"""`segue vm update`: gives running guests the QEMU that is installed on their host, and says what a client saw."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import typer

from segue.cli import budget, fleet, follow, output, task, update_all, values
from segue.cli.central import Controller
from segue.cli.fleet import Fleet
from segue.cli.migrate import Detach, Probes
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

Name = Annotated[str, typer.Argument(help="The guest; none with --all-of.")]
AllOf = Annotated[
    str, typer.Option(metavar="HOST", help="Every guest of this host that runs in another QEMU than it has.")
]
Parallel = Annotated[int, typer.Option(min=1, max=16, help="With --all-of: so many at once.")]
Again = Annotated[bool, typer.Option("--again", help="Also where it runs in the installed QEMU already.")]
OrMigrate = Annotated[
    str, typer.Option(metavar="HOST", help="Where it cannot be done in place, move the guest to this host.")
]
REFUSED: Final = "refused"


def update(
    name: Name = "",
    all_of: AllOf = "",
    parallel: Parallel = 2,
    again: Again = False,
    or_migrate: OrMigrate = "",
    max_blackout: Annotated[str, typer.Option(help="Abort rather than stand still for longer.")] = "300ms",
    notice: budget.Notice = "0",
    probe: Probes = None,
    detach: Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Give a running guest the QEMU that is installed on its host, without moving its memory.

    Examples:

        segue vm update web1

        segue vm update web1 --max-blackout 50ms --probe udp:7000

        segue vm update web1 --or-migrate host2

        segue vm update --all-of host1 --parallel 4

    Exit code: 0 updated, 1 aborted (it runs on in its old QEMU; with --all-of: not all were updated), 2 to 8 refused
    (nothing was begun), 130 detached.
    """
    _demand_sense(name, all_of, probed=bool(probe))
    known = fleet.load()
    limits = {"blackout_s": values.duration_s(max_blackout), "notice_s": values.duration_s(notice)}
    wish: dict[str, Any] = {"limits": limits, "again": again, "or_migrate": or_migrate}
    if all_of:
        raise typer.Exit(_all_of(known, all_of, wish, parallel, form, detach=detach))
    if known.controller is not None and not probe:
        raise typer.Exit(_by_controller(known.controller, name, wish, form, detach=detach))
    host, guest = known.find(name)
    if detach:
        begun = update_all.begin(host, name, wish)
        output.say(f"Begun.  Watch: segue migration watch {begun['id'][:8]}")
        return
    from segue.cli import probing

    begin = partial(update_all.begin, host, guest["name"], wish)
    raise typer.Exit(probing.follow_beside(host, guest, probe or [], begin, _say_detached, form))


def _demand_sense(name: str, all_of: str, *, probed: bool) -> None:
    why = ""
    if bool(name) == bool(all_of):
        why = "one guest is needed, or --all-of HOST, and not both"
    elif all_of and probed:
        why = "--probe is for one guest"
    if why:
        raise Refused(
            what="nothing is updated",
            why=why,
            todo="Write `segue vm update GUEST` or `segue vm update --all-of HOST`.",
            kind=Kind.USAGE,
        )


def _all_of(
    known: Fleet, name: str, wish: dict[str, Any], parallel: int, form: Format, *, detach: bool
) -> int:
    if known.controller is None:
        if detach:
            raise Refused(
                what="nothing is updated",
                why="--detach with --all-of needs a controller that goes on with it",
                todo="Leave one of them out.",
                kind=Kind.USAGE,
            )
        return update_all.run(known.host(name), wish, parallel, form)
    begun = known.controller.call("POST", f"/hosts/{name}/update", {**wish, "parallel": parallel})
    return _say_task(begun["id"]) if detach else task.follow(known.controller, begun["id"], form)


def _by_controller(
    controller: Controller, name: str, wish: dict[str, Any], form: Format, *, detach: bool
) -> int:
    """The controller has it done, and knows the record when it has ended."""
    begun = controller.call("POST", f"/guests/{name}/update", wish)
    if detach:
        return _say_task(begun["id"])
    last: dict[str, Any] = begun
    try:
        for last in controller.follow(begun["id"]):
            output.say(f"{name}: {last['state']}")
    except KeyboardInterrupt:
        _say_task(begun["id"])
        return output.DETACHED
    failure = last["failure"]
    if not last["migration"] and failure:
        kind = Kind.POLICY if failure["consequence"] == REFUSED else Kind.CONFLICT
        raise Refused(what=failure["what"], why=failure["why"], todo=failure["todo"], kind=kind)
    if not last["migration"]:
        output.say(f"{name} stays as it is: {last['note']}")
        return 1
    record = controller.call("GET", f"/migrations/{last['migration']}")
    code = follow.conclude(record)
    if form is not Format.TABLE:
        output.show(record, form)
    return code


def _say_task(number: str) -> int:
    output.say(f"Task {number[:8]}.  Watch: segue task watch {number[:8]}")
    return 0


def _say_detached(number: str) -> None:
    output.say(f"Detached; the update goes on.  Watch: segue migration watch {number[:8]}")
