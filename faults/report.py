"""What many cases come to: the verdicts that were promised, and a table of the faults. Pure but for the writing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from faults.cases import APPLICATION

PLACE: Final = Path("out/faults.json")
ENDINGS: Final = ("done", "aborted", "lost")
Outcome = dict[str, Any]


def verdicts(outcomes: list[Outcome], wanted: int) -> list[dict[str, Any]]:
    """Each of the promises, and whether these cases kept it."""
    played = [outcome for outcome in outcomes if "error" not in outcome]
    tries = {"name": "tries", "target": wanted, "value": len(played), "unit": "cases"}
    return [
        tries | {"holds": len(played) >= wanted},
        _none("guests lost", sum(outcome["lost"] for outcome in played), "guests"),
        _none("double runs", sum(len(outcome["double_runs"]) for outcome in played), "pairs"),
        _none("corrupt blocks", sum(outcome.get("corrupt_blocks", 0) for outcome in played), "blocks"),
        _none(
            "broken connections",
            sum(outcome.get("broken_connections", 0) for outcome in played),
            "connections",
        ),
        _none("wrong memory", sum(outcome.get("wrong_pages", 0) for outcome in played), "pages"),
        _none("leftovers", sum(bool(outcome["leftovers"]) for outcome in played), "cases"),
    ]


def _none(name: str, value: int, unit: str) -> dict[str, Any]:
    return {"name": name, "target": 0, "value": value, "unit": unit, "holds": value == 0}


def is_bad(outcome: Outcome) -> bool:
    """Whether this case breaks a promise, or could not be played."""
    return "error" in outcome or not all(verdict["holds"] for verdict in verdicts([outcome], 1))


def bad_in(answer: str) -> int:
    """`ok`, `ok N` or `bad N`; any other answer is one fault."""
    words = answer.split()
    if words and words[0] == "ok":
        return 0
    return int(words[1]) if len(words) == 2 and words[0] == "bad" else 1


def write(outcomes: list[Outcome], wanted: int, surroundings: dict[str, Any], place: Path = PLACE) -> None:
    """By rename, after each case: a run that is cut off has its cases."""
    data = {"verdicts": verdicts(outcomes, wanted), **surroundings, "cases": outcomes}
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_name(f".{place.name}.half")
    half.write_text(json.dumps(data, indent=1) + "\n")
    half.replace(place)


def faults_table(outcomes: list[Outcome]) -> Table:
    """One line for each kind of fault: how its migrations ended."""
    table = Table("FAULT", "TRIES", "HIT", *(name.upper() for name in ENDINGS), "CRASHED", "BAD", "STOOD s")
    played = [outcome for outcome in outcomes if "error" not in outcome]
    for name in sorted({_kind(outcome) for outcome in played}):
        mine = [outcome for outcome in played if _kind(outcome) == name]
        ended = Counter(outcome.get("ended", "") for outcome in mine)
        counts = [len(mine), sum(outcome["hit"] for outcome in mine), *(ended[end] for end in ENDINGS)]
        counts += [sum(bool(outcome["crashed_on"]) for outcome in mine), sum(map(is_bad, mine))]
        stood = max((outcome.get("stood_s", 0.0) for outcome in mine), default=0.0)
        table.add_row(name, *(str(count) for count in counts), f"{stood:.1f}" if stood else "")
    return table


def verdict_table(found: list[dict[str, Any]]) -> Table:
    """One line for each promise."""
    table = Table("", "TARGET", "FOUND", "")
    for verdict in found:
        value = f"{verdict['value']} {verdict['unit']}"
        table.add_row(verdict["name"], str(verdict["target"]), value, "" if verdict["holds"] else "BROKEN")
    return table


def _kind(outcome: Outcome) -> str:
    what = "app: " if outcome.get("disk") == APPLICATION else ""
    return f"{what}{outcome['fault']} {outcome['victim']}"
