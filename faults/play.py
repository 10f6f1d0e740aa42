"""Plays one case and judges it: a migration, a fault in it, everything healed, and then nothing may be missing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from faults import standing
from faults.app_stage import AppStage
from faults.cases import AT_WORK, DISKS_TOO, MEMORY, UNTIL_END, Case
from faults.inflict import Heal, inflict
from faults.stage import Stage
from segue.errors import SegueError
from tests.lab.moves import ENDS, Halt, Move

Outcome = dict[str, Any]
BANDWIDTH: Final = 24 << 20
"""A copy of disk and memory takes some seconds, so that a fault can come in its middle."""
PLACE_LIMIT_S: Final = 40.0
HOLD_LIMIT_S: Final = 30.0
CALM_LIMIT_S: Final = 150.0
"""The longest wait in the engine is that for a link which may come back, 75 s."""
LOOK_S: Final = 0.1
KILLING: Final = {("kill", "qemu"), ("starve", "qemu"), ("kill", "criu")}
"""What ends a QEMU, and with it the guest, if it is the one that it runs in; or a CRIU that was told to let run."""

_rest = threading.Event()


def play(stage: Stage | AppStage, case: Case) -> Outcome:
    """What came of it. Raises AssertionError where the stage was not ready for it."""
    stage.use(case.disk)
    stage.begin()
    begun_s = time.monotonic()
    before = stage.status()
    source, target = stage.route()
    with standing.watched(stage.count) as stood:
        move, hit = _with_fault(stage, case, source, target)
        outcome: Outcome = {**asdict(case), "case": str(case), "source": source, "target": target, "hit": hit}
        outcome |= _judge(stage, case, before, {"source": source, "target": target}, move)
    outcome["stood_s"] = round(stood.longest_s, 1)
    with contextlib.suppress(SegueError):
        record = move.record()
        outcome |= {"ended": record["stage"], "failure": (record["failure"] or {}).get("why", "")}
    return outcome | {"took_s": round(time.monotonic() - begun_s, 1)}


def _with_fault(stage: Stage | AppStage, case: Case, source: str, target: str) -> tuple[Move, bool]:
    """The migration, and whether there was something to hit. Afterwards everything is as it was before."""
    host = source if case.side == "source" else target
    halt = stage.halt(host, case.place) if case.place not in {"", AT_WORK} else None
    heal: Heal | None = None
    move = stage.migrate(target, bandwidth_bytes_per_s=BANDWIDTH, **case.limits)
    try:
        if isinstance(stage, AppStage) and case.place == AT_WORK:
            stage.catch_at_work(host)
        if _is_time(halt, case):
            heal = inflict(stage, case, source, target)
        if halt is not None:
            halt.go()
        _hold(move, case)
    finally:
        stage.forget_failpoints()
        if heal is not None:
            heal()
    return move, heal is not None


def _is_time(halt: Halt | None, case: Case) -> bool:
    if halt is None:
        _rest.wait(case.delay_s)
        return True
    try:
        halt.wait(PLACE_LIMIT_S)
    except AssertionError:  # The migration went another way.
        return False
    return True


def _hold(move: Move, case: Case) -> None:
    if case.hold_s != UNTIL_END:
        _rest.wait(case.hold_s)
        return
    _wait(lambda: move.record()["stage"] in ENDS, HOLD_LIMIT_S)


def _wait(met: Callable[[], object], limit_s: float) -> bool:
    """Whether it came true in time; an agent that does not answer has not said so yet."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with contextlib.suppress(SegueError, AssertionError, OSError):
            if met():
                return True
        _rest.wait(LOOK_S)
    return False


def _judge(
    stage: Stage | AppStage, case: Case, before: dict[str, float], hosts: dict[str, str], move: Move
) -> Outcome:
    left: list[str] = []

    def calm_or_crashed() -> bool:
        left[:] = stage.unrest()
        return not left or _crashed(stage, case) != ""

    _wait(calm_or_crashed, CALM_LIMIT_S)
    crashed = _crashed(stage, case)
    if crashed:
        stage.start_guest(crashed)
        _wait(calm_or_crashed, CALM_LIMIT_S)
    killed = hosts[case.victim.split()[0]] if (case.fault, case.victim.split()[-1]) in KILLING else ""
    found: Outcome = {"crashed_on": crashed, "leftovers": list(left), "double_runs": stage.census.overlaps()}
    answers = _wait(stage.client.answered, 10.0)
    found["lost"] = not answers or crashed not in {"", killed, _declared_on(case, move, hosts)}
    if answers:
        found |= stage.proofs(before, bool(crashed))
    if (
        found["lost"]
        or left
        or found["double_runs"]
        or found.get("corrupt_blocks")
        or found.get("wrong_pages")
        or found.get("broken_connections")
    ):
        found["logs"] = [[who, text[-20_000:]] for who, text in stage.logs()]
    return found


def _declared_on(case: Case, move: Move, hosts: dict[str, str]) -> str:
    """Where a guest may have crashed whose memory followed it and ended with the source's QEMU; else empty."""
    if MEMORY not in case.follows or (case.fault, case.victim) != ("kill", "source qemu"):
        return ""
    with contextlib.suppress(SegueError):
        return hosts["target"] if move.record()["stage"] == "lost" else ""
    return ""


def _crashed(stage: Stage | AppStage, case: Case) -> str:
    """The host whose agent says that the guest ended there, if there is one. Where its disks follow the source waits
    meanwhile: they are pulled once it is started again."""
    shown = [guest for host in stage.hosts if (guest := stage.shown(host)) is not None]
    beside = {"released"} if DISKS_TOO in case.follows else set()
    owners = [guest for guest in shown if guest["phase"] not in beside]
    if [guest["phase"] for guest in owners] != ["owner"]:
        return ""
    return str(owners[0]["host"]) if owners[0]["state"] == "crashed" else ""
