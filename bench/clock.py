"""How long the rest of a benchmark takes, judged by how long the moves before took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bench.cells import Cell
from bench.figures import Sample, Samples
from bench.moves import DEADLINE_S

FIRST_GUESS_S: Final = 8.0
"""A move with its probes, before any was made."""
AROUND_S: Final = 5.0
"""What the probes take before and after a move."""


class Left:
    """Keeps what each kind of move took."""

    def __init__(self, samples: Samples) -> None:
        self._took: dict[tuple[str, str], float] = {}
        for sample in samples:
            self._keep(sample, sample.get("took_s", sample["total_s"] + AROUND_S))

    def took(self, sample: Sample, seconds: float) -> None:
        """Notes it, in the sample as well."""
        sample["took_s"] = round(seconds, 2)
        self._keep(sample, seconds)

    def _keep(self, sample: Sample, seconds: float) -> None:
        self._took[sample["cell"], sample["peer"]] = seconds

    def left_s(self, moves: Iterable[tuple[Cell, str]]) -> float:
        """For these moves: what the same one took last, else what one of this peer took, else a guess."""
        return sum(self._one_s(cell, peer) for cell, peer in moves)

    def _one_s(self, cell: Cell, peer: str) -> float:
        if (cell.name, peer) in self._took:
            return self._took[cell.name, peer]
        if cell.dirty_percent > 100 and peer != "segue":
            return DEADLINE_S + AROUND_S
        of_peer = [seconds for (_, name), seconds in self._took.items() if name == peer]
        return sum(of_peer) / len(of_peer) if of_peer else FIRST_GUESS_S


def said(seconds: float) -> str:
    """`about 12 min`."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
