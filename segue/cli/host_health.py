"""`segue host health`: verdicts of a host's parts, each with what a person can check."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, host_sensors, output
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused
from segue.model.health import Level

FAILED: Final = 4
WATCH_S: Final = 2.0
COLUMNS = ("LEVEL", "PART", "SINCE", "WHY", "SEEN IN")


def health(
    host: Annotated[
        str, typer.Argument(help="The host; empty: all hosts of the fleet, by its controller.")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="In the table, show healthy parts and what cannot be seen, too.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print again whenever a verdict changes, until interrupted.")
    ] = False,
    rectified: Annotated[
        str, typer.Option(help="This part, as memory/DIMM_A1, was mended or replaced: it begins anew.")
    ] = "",
    form: Output = Format.TABLE,
) -> None:
    """Say which parts of a host are suspect, failing or dead, and why.

    The host's agent watches memory, processors, disks, network cards, sensors, the kernel's log, storage paths and
    itself; a controller asks its BMC. `segue doctor` is the other question: whether the host is set up as segue needs.

    Examples:

        segue host health host1

        segue host health host1 --all

        segue host health host1 --watch

        segue host health host1 --rectified memory/DIMM_A1

        segue host health

    Exit code: 0 the host is healthy or suspect, 4 it is failing; without HOST: 4 where any is.
    """
    if not host:
        _fleet(form, every=every, more=watch or bool(rectified))
        return
    bmc = host_sensors.of(fleet.load(), host)
    if rectified:
        bmc.rectified(rectified)
        output.say(f"{rectified} of {host} begins anew.")
    seen = bmc.health()
    _show(seen, form, every=every)
    while watch:
        time.sleep(WATCH_S)
        before, seen = seen, bmc.health()
        if _state(before) != _state(seen):
            _show(seen, form, every=every)
    if seen["level"] in {Level.FAILING, Level.DEAD}:
        raise typer.Exit(FAILED)


def _fleet(form: Format, *, every: bool, more: bool) -> None:
    """What all hosts said, and what is done about it."""
    if more:
        raise Refused(
            what="nothing was asked",
            why="--watch and --rectified are for one host",
            todo="Name the host.",
            kind=Kind.USAGE,
        )
    seen = fleet.load().demand_controller().call("GET", "/health")
    answer = seen["answer"]
    done = {one["host"]: "to be emptied" for one in answer["evacuations"]}
    done |= {one["host"]: f"waits: {one['why']}. {one['todo']}" for one in answer["held"]}
    told = sorted(seen["reports"], key=lambda one: (-Level(one["level"]).rank, one["host"]))
    rows = [
        (one["level"], one["host"], _clock(one["since_s"]), one["text"], done.get(one["host"], ""))
        for one in told
        if every or one["level"] != Level.HEALTHY
    ]
    output.show(seen, form, rows, ("LEVEL", "HOST", "SINCE", "WHY", "ANSWER"))
    alone = {one["host"] for one in told if one["level"] != Level.HEALTHY}
    for alert in answer["alerts"] if form is Format.TABLE else []:
        if alert.partition(" ")[0] not in alone:
            output.say(alert)
    for storm in answer["storms"]:
        output.say(f"a storm: {storm['text']}")
    counts = {level: sum(one["level"] == level for one in told) for level in Level}
    output.say(
        ", ".join(f"{count} {level.value}" for level, count in counts.items() if count) or "no host has said"
    )
    if counts[Level.FAILING] or counts[Level.DEAD]:
        raise typer.Exit(FAILED)


def _state(seen: dict[str, Any]) -> list[Any]:
    return [seen["level"], [(part["part"], part["level"]) for part in seen["parts"]], seen["blind"]]


def _show(seen: dict[str, Any], form: Format, *, every: bool) -> None:
    rows = [row for part in _worst_first(seen["parts"]) for row in _rows(part, every=every)]
    if every:
        rows += [("cannot see", one["probe"], "", one["why"], one["what"]) for one in seen["blind"]]
    output.show(seen, form, rows, COLUMNS)
    counts = {level: sum(part["level"] == level for part in seen["parts"]) for level in Level}
    told = ", ".join(f"{count} {level.value}" for level, count in counts.items() if count)
    blind = f"; {len(seen['blind'])} sources cannot be seen" if seen["blind"] else ""
    sys.stdout.flush()  # Whoever reads along waits for just this change.
    output.say(f"{seen['host']} is {seen['level']}: {told or 'no part was seen yet'}{blind}")


def _worst_first(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(parts, key=lambda part: (-Level(part["level"]).rank, part["part"]))


def _rows(part: dict[str, Any], *, every: bool) -> list[tuple[str, ...]]:
    if part["level"] == Level.HEALTHY:
        return [(part["level"], part["part"], "", "", "")] if every else []
    return [
        (reason["level"], part["part"], _clock(reason["since_s"]), reason["text"], reason["source"])
        for reason in part["reasons"]
    ]


def _clock(at_s: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(at_s)) if at_s else ""
