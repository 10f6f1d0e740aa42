"""`segue migrate --all-of HOST`: empties a host. The agents check and move; which guest goes where is policy's."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from segue.cli import fleet, follow, output, values
from segue.cli.fleet import Host
from segue.cli.output import Format
from segue.errors import Kind, Refused, SegueError
from segue.policy import evacuation
from segue.policy.evacuation import Leaving, Plan, Room, Transfer

CHECKS_AT_ONCE: Final = 2
"""Each check measures the path for half a second: more at once would measure each other."""
FIXED_S: Final = 1.6
"""What a move takes besides its bytes: see `fixed_total_s` in model/foresight.py."""
NOT_ALL: Final = 1
UNKNOWN_BYTES_PER_S: Final = 1.0


@dataclass(frozen=True)
class Order:
    """What was asked for."""

    source: Host
    limits: dict[str, Any]
    parallel: int
    form: Format
    force: bool = False


@dataclass
class Seen:
    """What the checks found."""

    guests: list[Leaving]
    rooms: list[Room]
    source_bytes_per_s: float


def run(order: Order, to: list[str], *, dry_run: bool) -> None:
    """Checks, shows the plan, and carries it out unless it is only asked for."""
    known = fleet.load()
    targets = [known.host(name) for name in to] or [
        h for h in known.hosts.values() if h.name != order.source.name
    ]
    if any(target.name == order.source.name for target in targets):
        raise _nonsense(order.source.name)
    seen = _look(order, targets)
    made = evacuation.plan(seen.guests, seen.rooms, seen.source_bytes_per_s)
    if dry_run or order.form is Format.TABLE:
        _show_plan(made, order.form)
    if dry_run:
        return
    done = _Evacuation(order, made, seen.source_bytes_per_s).run()
    raise typer.Exit(_conclude(order, made, done))


def _look(order: Order, targets: list[Host]) -> Seen:
    """Asks the source for a forecast of each guest to each target: all checks are in it, and the path's speed."""
    guests = [
        g for g in order.source.call("GET", "/guests") if g["phase"] == "owner" and g["state"] != "stopped"
    ]
    free: dict[str, int] = {}
    silent: dict[str, str] = {}
    for target in targets:
        try:
            free[target.name] = target.call("GET", "/host")["memory_free_bytes"]
        except SegueError as error:
            silent[target.name] = error.why
    speeds: dict[str, float] = {}

    def check(guest: dict[str, Any]) -> Leaving:
        return _check(order, guest, free, silent, speeds)

    with ThreadPoolExecutor(max_workers=CHECKS_AT_ONCE) as pool:
        leaving = list(pool.map(check, guests))
    cap = float(order.limits["bandwidth_bytes_per_s"]) or float("inf")
    rooms = [
        Room(target.name, free.get(target.name, 0), min(cap, speeds.get(target.name, UNKNOWN_BYTES_PER_S)))
        for target in targets
    ]
    return Seen(leaving, rooms, min(cap, max(speeds.values(), default=UNKNOWN_BYTES_PER_S)))


def _check(
    order: Order,
    guest: dict[str, Any],
    free: Mapping[str, int],
    silent: Mapping[str, str],
    speeds: dict[str, float],
) -> Leaving:
    obstacles = dict(silent)
    copied, dirty, disks = guest["spec"]["memory_bytes"], 0.0, 0
    for target in free:
        wish = {"to": target, "limits": order.limits, "force": order.force}
        try:
            foreseen = order.source.call(
                "POST", f"/guests/{guest['name']}/forecast", wish, within_s=fleet.BEGIN_S
            )
        except SegueError as error:
            obstacles[target] = error.why
            continue
        copied, dirty = foreseen["memory_bytes"], foreseen["dirty_bytes_per_s"]
        disks = foreseen.get("disk_bytes", 0)  # An agent of 0.1 does not say.
        speeds[target] = max(speeds.get(target, 0.0), foreseen["link_bytes_per_s"])
    return Leaving(guest["name"], guest["spec"]["memory_bytes"], copied, dirty, disks, obstacles)


@dataclass
class Done:
    """How it went: the last record of each move, and guests that were not moved, with the reason."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    detached: bool = False
    not_begun: tuple[str, ...] = ()


class _Evacuation:
    """Carries a plan out: each move is followed by a thread of its own, one that fails stops no other."""

    def __init__(self, order: Order, made: Plan, source_bytes_per_s: float) -> None:
        self._order = order
        self._waiting = list(made.transfers)
        self._running: list[Transfer] = []
        self._speed = source_bytes_per_s
        self._ended: queue.Queue[tuple[Transfer, dict[str, Any] | SegueError]] = queue.Queue()
        self._done = Done()
        self._seen: dict[str, dict[str, Any]] = {}
        self._show: Callable[[], None] = lambda: None

    def run(self) -> Done:
        """Returns when every move has ended, or when the operator goes home."""
        live = Live(console=Console(stderr=True, highlight=False), refresh_per_second=4, transient=True)
        watched = sys.stderr.isatty()
        if watched:
            self._show = lambda: live.update(self._picture())
        with live if watched else nullcontext():
            try:
                while self._waiting or self._running:
                    self._begin()
                    self._note(*self._ended.get())
            except KeyboardInterrupt:
                self._done.detached = True
                self._done.not_begun = tuple(transfer.guest for transfer in self._waiting)
        return self._done

    def _begin(self) -> None:
        for transfer in evacuation.admit(self._waiting, self._running, self._speed, self._order.parallel):
            self._waiting.remove(transfer)
            self._running.append(transfer)
            threading.Thread(target=self._follow, args=(transfer,), daemon=True).start()
        self._show()

    def _follow(self, transfer: Transfer) -> None:
        """One move from beginning to end, on a thread of its own."""
        source = self._order.source
        wish = {"to": transfer.to, "limits": self._limits(), "force": self._order.force}
        try:
            begun = source.call("POST", f"/guests/{transfer.guest}/migrations", wish, within_s=fleet.BEGIN_S)
            self._seen[transfer.guest] = begun
            record = follow.follow(source, begun["id"], lambda seen: self._shown(transfer, seen))
            self._ended.put((transfer, record))
        except SegueError as error:
            self._ended.put((transfer, error))

    def _limits(self) -> dict[str, Any]:
        """The operator's cap is for the link: moves that run at once share it."""
        cap = self._order.limits["bandwidth_bytes_per_s"]
        return {**self._order.limits, "bandwidth_bytes_per_s": cap // self._order.parallel}

    def _shown(self, transfer: Transfer, record: dict[str, Any]) -> None:
        before = self._seen.get(transfer.guest, {}).get("stage")
        self._seen[transfer.guest] = record
        if not sys.stderr.isatty() and record["stage"] != before:
            output.say(f"{transfer.guest} {record['stage']}")
        self._show()

    def _note(self, transfer: Transfer, outcome: dict[str, Any] | SegueError) -> None:
        self._running.remove(transfer)
        if isinstance(outcome, SegueError):
            self._done.refused[transfer.guest] = f"{outcome.what}: {outcome.why}"
        else:
            self._done.records[transfer.guest] = outcome
        self._show()

    def _picture(self) -> Table:
        table = Table("GUEST", "TO", "STAGE", "STEP", "SENT", "LEFT", box=None, pad_edge=False)
        for guest, record in self._seen.copy().items():
            progress = record["progress"]
            sent, left = progress["transferred_bytes"], progress["remaining_bytes"]
            step = "" if record["stage"] in follow.ENDS else record["step"]
            numbers = (values.show_bytes(sent), values.show_bytes(left))
            table.add_row(guest, record["target"], record["stage"], step, *numbers)
        for transfer in self._waiting.copy():
            table.add_row(transfer.guest, transfer.to, "waits", "", "", "")
        return table


def _show_plan(made: Plan, form: Format) -> None:
    rows = [
        (str(number), t.guest, t.to, values.show_bytes(t.work_bytes), "")
        for number, t in enumerate(made.transfers, start=1)
    ]
    rows += [("", guest, "stays", "", why) for guest, why in sorted(made.staying.items())]
    output.show(_plan_data(made), form, rows, ("ORDER", "GUEST", "TO", "COPIED", "WHY"))
    if form is Format.TABLE and made.transfers:
        output.say(f"At least {made.links_s + FIXED_S:.0f} s on the links as measured.")


def _plan_data(made: Plan) -> dict[str, Any]:
    return {
        "transfers": [asdict(transfer) for transfer in made.transfers],
        "staying": dict(made.staying),
        "links_s": made.links_s,
    }


def _conclude(order: Order, made: Plan, done: Done) -> int:
    """The summary and the exit code."""
    moved = [guest for guest, record in done.records.items() if record["stage"] == "done"]
    still = dict(made.staying) | done.refused
    for guest, record in done.records.items():
        if guest not in moved:
            failure = record["failure"] or {"what": record["stage"], "why": ""}
            still[guest] = f"{failure['what']}: {failure['why']}"
    if done.detached:
        output.say("Detached; moves that have begun go on: `segue migration list`.")
        still |= dict.fromkeys(done.not_begun, "not begun")
    begun = [*moved, *still]
    for guest in sorted(still):
        output.say(f"{guest} is not moved: {still[guest]}")
    output.say(f"{len(moved)} of {len(begun)} guests moved from {order.source.name}.")
    if order.form is not Format.TABLE:
        data = {"plan": _plan_data(made), "moved": [done.records[g] for g in moved], "not_moved": still}
        output.show(data, order.form)
    if done.detached:
        return output.DETACHED
    if any(follow.is_in_doubt(record) for record in done.records.values()):
        return follow.IN_DOUBT
    return NOT_ALL if still else 0


def _nonsense(name: str) -> Refused:
    return Refused(
        what=f"{name} is not emptied",
        why="it cannot be the target of its own guests",
        todo="Name other hosts with --to, or none: then any host that fits is taken.",
        kind=Kind.USAGE,
    )
