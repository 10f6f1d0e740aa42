"""The maintenances that are to come, by their time, for `segue maintenance calendar`; it asks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from segue.cli import values
from segue.cli.central import Controller
from segue.errors import Refused

OPEN: Final = frozenset({"planned", "waiting", "running", "paused", "cancelling"})
SHOWN: Final = 4
Entry = dict[str, Any]


def entries(controller: Controller, guest: str = "") -> list[Entry]:
    """Those that have not ended, the earliest first. guest: only those that move it."""
    found = [_entry(controller, shown) for shown in controller.all("/maintenances") if shown["state"] in OPEN]
    found.sort(key=lambda entry: (entry["begins_s"], entry["name"]))
    for entry in found:
        entry["missing"] += [line for other in found for line in _collision(entry, other)]
    return [entry for entry in found if not guest or guest in entry["guests"]]


def _entry(controller: Controller, shown: dict[str, Any]) -> Entry:
    """What is under way is foreseen for what it was ordered, not for what is left of it: only its begin is known."""
    order = shown["maintenance"]["order"]
    try:
        foreseen = controller.call("POST", "/maintenances/plan", order)
    except Refused as error:  # Such as a host that has left the fleet since.
        foreseen = {"batches": [], "begins_s": order["window"]["begins_s"], "missing": [error.why]}
        foreseen["ends_s"] = foreseen["begins_s"]
    is_begun = shown["state"] != "planned"
    hosts = shown["maintenance"]["hosts"] or [
        host for batch in foreseen["batches"] for host in batch["hosts"]
    ]
    lasts_s = foreseen["ends_s"] - foreseen["begins_s"]
    begins_s = max(shown["begun_s"], order["window"]["begins_s"]) if is_begun else foreseen["begins_s"]
    return {
        "name": shown["name"],
        "title": order["title"],
        "state": shown["state"],
        "begins_s": begins_s,
        "ends_s": begins_s + lasts_s,
        "has_window": bool(order["window"]["begins_s"]),
        "hosts": hosts,
        "guests": sorted({name for batch in foreseen["batches"] for name in batch["guests"]}),
        "missing": [] if is_begun else list(foreseen["missing"]),
    }


def _collision(entry: Entry, other: Entry) -> Iterable[str]:
    """Two on one host at once, where both have a time; the later one says so."""
    if entry["name"] == other["name"] or not (_has_time(entry) and _has_time(other)):
        return
    is_later = (other["begins_s"], other["name"]) < (entry["begins_s"], entry["name"])
    both = sorted(set(entry["hosts"]) & set(other["hosts"]))
    if is_later and both and entry["begins_s"] < other["ends_s"]:
        yield f"{', '.join(both[:SHOWN])}: {other['name']} would not have ended there"


def _has_time(entry: Entry) -> bool:
    return bool(entry["has_window"] or entry["state"] != "planned")


def row(entry: Entry) -> tuple[str, ...]:
    """For the table."""
    begins = values.show_time(entry["begins_s"]) if _has_time(entry) else "any time"
    ends = values.show_time(entry["ends_s"])
    if not _has_time(entry):
        ends = f"after {values.show_duration(entry['ends_s'] - entry['begins_s'])}"
    names = (begins, ends, entry["name"], entry["state"])
    return (*names, _some(entry["hosts"]), _some(entry["guests"]), entry["title"])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
