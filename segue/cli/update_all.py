"""`segue vm update --all-of HOST` where no controller is: the host's agent is asked for each guest, a few at once."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from segue.cli import fleet, follow, output
from segue.cli.fleet import Host
from segue.cli.output import Format
from segue.errors import SegueError
from segue.policy import update

NOT_ALL = 1


def begin(host: Host, name: str, wish: dict[str, Any]) -> dict[str, Any]:
    """The record of an update that has begun. Raises Refused."""
    return dict(host.call("POST", f"/guests/{name}/update", wish, within_s=fleet.BEGIN_S))


def run(host: Host, wish: dict[str, Any], parallel: int, form: Format) -> int:
    """Follows each to its end, says how it went, and returns the exit code; one that fails stops no other."""
    guests = [
        guest["name"]
        for guest in host.call("GET", "/guests")
        if update.is_due(
            guest["phase"],
            guest["state"],
            guest["qemu"],
            is_outdated=guest["qemu_outdated"],
            again=wish["again"],
        )
    ]
    records: dict[str, dict[str, Any]] = {}
    left: dict[str, str] = {}
    with ThreadPoolExecutor(parallel) as pool:
        waiting = {pool.submit(_one, host, name, wish): name for name in guests}
        try:
            _gather(waiting, records, left)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            output.say("Detached; updates that have begun go on: `segue migration list`.")
            return output.DETACHED
    return _conclude(host.name, records, left, form)


def _gather(
    waiting: dict[Future[dict[str, Any]], str], records: dict[str, dict[str, Any]], left: dict[str, str]
) -> None:
    running = set(waiting)
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            name = waiting[future]
            try:
                record = records[name] = future.result()
            except SegueError as error:
                left[name] = f"{error.what}: {error.why}"
                continue
            if record["stage"] != "done":
                failure = record["failure"] or {"what": record["stage"], "why": ""}
                left[name] = f"{failure['what']}: {failure['why']}"


def _one(host: Host, name: str, wish: dict[str, Any]) -> dict[str, Any]:
    begun, told = begin(host, name, wish), ""

    def show(record: dict[str, Any]) -> None:
        nonlocal told
        if record["stage"] != told:
            told = record["stage"]
            output.say(f"{name} {told}")

    return follow.follow(host, begun["id"], show)


def _conclude(host: str, records: dict[str, dict[str, Any]], left: dict[str, str], form: Format) -> int:
    updated = [name for name, record in records.items() if record["stage"] == "done"]
    for name in sorted(left):
        output.say(f"{name} stays: {left[name]}")
    output.say(
        f"{len(updated)} of {len(updated) + len(left)} guests of {host} got the QEMU that is installed."
    )
    if form is not Format.TABLE:
        output.show({"updated": [records[name] for name in updated], "staying": left}, form)
    if any(follow.is_in_doubt(record) for record in records.values()):
        return follow.IN_DOUBT
    return NOT_ALL if left else 0
