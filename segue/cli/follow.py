"""Follows one migration to its end and shows its three stages: live on a terminal, a line per change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.live import Live
from rich.text import Text

from segue.cli import output, values
from segue.cli.fleet import Host
from segue.errors import SegueError

ENDS: Final = frozenset({"done", "aborted", "lost"})
STAGES: Final = ("preparation", "blackout", "post_blackout")
HANDOFF: Final = "hand off"
"""The one step of the blackout."""
EXIT: Final = {"done": 0, "aborted": 1, "lost": 1}
IN_DOUBT: Final = 9
AWAY_S: Final = 60.0
"""An agent that restarts is back within seconds; one silent for this long is given up."""


def follow(host: Host, number: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Calls `show` with each change; returns the last record: an end, or one that is in doubt."""
    record: dict[str, Any] = {}
    for record in _changes(host, number):
        show(record)
        if record["stage"] in ENDS or is_in_doubt(record):
            break
    return record


def _changes(host: Host, number: str) -> Iterator[dict[str, Any]]:
    silent_since = time.monotonic()
    while True:
        try:
            yield host.call("GET", f"/migrations/{number}")
            silent_since = time.monotonic()
            for event in host.events():
                if event["type"] == "migration" and event["subject"] == number:
                    yield event["data"]
        except (SegueError, httpx2.HTTPError) as error:
            if time.monotonic() - silent_since > AWAY_S:
                raise host.unreachable(error) from error
        # The connection ended: the agent restarts, and takes the migration up where it stands.
        time.sleep(0.3)


def is_in_doubt(record: dict[str, Any]) -> bool:
    """True where the handoff has no answer."""
    return bool(record["failure"]) and record["failure"]["consequence"] == "in_doubt"


def watch(host: Host, number: str) -> dict[str, Any]:
    """Follows with pictures, or with lines where nobody looks."""
    if sys.stderr.isatty():
        with Live(
            console=Console(stderr=True, highlight=False), refresh_per_second=8, transient=True
        ) as live:
            return follow(host, number, lambda record: live.update(picture(record)))
    return follow(host, number, _line_printer())


def _line_printer() -> Callable[[dict[str, Any]], None]:
    seen: list[str] = []

    def show(record: dict[str, Any]) -> None:
        line = _line(record)
        # An agent that comes back tells its events once more, from their beginning.
        if line and line not in seen:
            seen.append(line)
            output.say(line)

    return show


def _line(record: dict[str, Any]) -> str:
    """Nothing for the instant in which the stage has changed and the step has not, or the other way round."""
    guest, stage, step = record["guest"], record["stage"], record["step"]
    if stage in ENDS:
        return f"{guest} {stage}"
    if record["waiting"]:
        return f"{guest} {stage}: waiting for {record['waiting'].partition(':')[0]}"
    if (stage == "blackout") != (step == HANDOFF) and not step.startswith("undo"):
        return "" if step else f"{guest} {stage}: begins"
    return f"{guest} {stage}: {step}"


def picture(record: dict[str, Any]) -> Text:
    """The three stages, one line each."""
    text = Text()
    text.append(f"{record['guest']}  {record['source']} -> {record['target']}\n", style="bold")
    now = STAGES.index(record["stage"]) if record["stage"] in STAGES else len(STAGES)
    for index, stage in enumerate(STAGES):
        sign, style = ("✓", "green") if index < now else ("●", "yellow") if index == now else ("·", "dim")
        text.append(f"  {sign} {stage.replace('_', '-'):14}", style=style)
        text.append(f"{_detail(stage, record, index == now)}\n")
    return text


def _detail(stage: str, record: dict[str, Any], current: bool) -> str:
    progress, outcome = record["progress"], record["outcome"]
    if current and record["waiting"]:
        return f"waiting for {record['waiting']}"
    if stage == "preparation" and progress["total_bytes"]:
        left, sent = progress["remaining_bytes"], progress["transferred_bytes"]
        return (
            f"round {progress['round']}  {values.show_bytes(sent)} sent  {values.show_bytes(left)} left  "
            f"guest writes {values.show_bytes(progress['dirty_bytes_per_s'])}/s{_rung(progress)}"
        )
    if stage == "blackout" and outcome["blackout_s"]:
        return f"{values.show_ms(outcome['blackout_s'])}"
    return record["step"] if current else ""


def _rung(progress: dict[str, Any]) -> str:
    """The pause as it would be now, and what the guest has to bear meanwhile."""
    estimate = f"  pause {values.show_ms(progress['blackout_estimate_s'])}"
    throttled = f" {progress['slowdown']:.0%}" if progress["slowdown"] else ""
    return f"{estimate}  {progress['rung']}{throttled}"


def conclude(record: dict[str, Any]) -> int:
    """The last line for people, and the exit code."""
    outcome, failure = record["outcome"], record["failure"]
    move = f"{record['guest']} {record['source']} -> {record['target']}"
    if record["stage"] == "done" and record.get("cold"):
        output.say(f"{move}  done  started from its disks, {outcome['total_s']:.1f} s")
        return 0
    if record["stage"] == "done":
        budget, blackout_s = record["limits"]["blackout_s"], outcome["blackout_s"]
        measured = values.show_ms(blackout_s) if blackout_s else "not measured"
        output.say(
            f"{move}  done  blackout {measured} (budget {values.show_ms(budget)})  {_outage(outcome)}"
            f"{values.show_bytes(outcome['transferred_bytes'])} in {outcome['total_s']:.1f} s  "
            f"{outcome['frames_steered']} frames held and forwarded{_brownout(outcome)}"
        )
        _say_verified(outcome["verification"])
        _say_clock(outcome["clock"])
        return 0
    if failure:
        output.say(f"{failure['consequence']}: {failure['what']}: {failure['why']}")
        output.say(f"what to do: {failure['todo']}")
    return IN_DOUBT if is_in_doubt(record) else EXIT.get(record["stage"], 1)


def _say_verified(found: dict[str, Any]) -> None:
    if found["verified_bytes"]:
        disks = f" and {values.show_bytes(found['disk_bytes'])} of disks" if found["disk_bytes"] else ""
        output.say(
            f"memory compared on both hosts ({found['mode']}): {values.show_bytes(found['verified_bytes'])}{disks} "
            f"equal, in {values.show_ms(found['seconds'])} of the blackout"
        )
    elif found["note"]:
        output.say(f"memory not compared: {found['note']}")


def _say_clock(clock: dict[str, Any]) -> None:
    if clock["stepped_s"]:
        output.say(f"guest's clock put forward by {values.show_ms(clock['stepped_s'])}")
    elif clock["lag_s"]:
        output.say(f"guest's clock lags by {values.show_ms(clock['lag_s'])}: {clock['note']}")


def _outage(outcome: dict[str, Any]) -> str:
    return f"outage {values.show_ms(outcome['outage_s'])}  " if outcome["outage_s"] else ""


def _brownout(outcome: dict[str, Any]) -> str:
    if not outcome["brownout_s"]:
        return ""
    return f"  slowed down by up to {outcome['slowdown_max']:.0%}, {outcome['brownout_s']:.1f} s of its time"
