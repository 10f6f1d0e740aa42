"""The samples on disk: written after each one, so that a benchmark that was cut off goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from bench.figures import Samples

PLACE: Final = Path("out/bench/engine.json")
KEPT_AS: Final = "engine.before.json"


def load(place: Path = PLACE) -> dict[str, Any]:
    """The report of earlier sessions; empty without one. Raises ValueError for one that cannot be gone on with."""
    try:
        data: dict[str, Any] = json.loads(place.read_text())
    except FileNotFoundError:
        return {}
    if any("cell" not in sample for sample in data.get("samples", [])):
        raise ValueError(f"{place} was written by another version of this benchmark; move it away")
    return data


def begin(place: Path = PLACE) -> None:
    """A new series: an older report is kept beside the one to come."""
    if place.exists():
        place.replace(place.with_name(KEPT_AS))


def write(data: dict[str, Any], place: Path = PLACE) -> None:
    """By rename, so that a reader never sees half a report."""
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_name(f".{place.name}.half")
    half.write_text(json.dumps(data, indent=1) + "\n")
    half.replace(place)


def done(samples: Samples, cell: str) -> dict[str, int]:
    """How many runs each peer has in a cell."""
    return dict(Counter(sample["peer"] for sample in samples if sample["cell"] == cell))
