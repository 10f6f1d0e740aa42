"""What is measured before a migration, and what earlier ones taught."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Measured just before. Bytes, bytes per second, seconds."""

    resident_bytes: int
    path_bytes_per_s: float
    writes: tuple[tuple[float, float], ...] = ()
    """(span, bytes per second of different pages): a longer span shows less where pages are written again."""
    round_trip_s: float = 0.0
    disk_bytes: int = 0
    """What is held by the disks, and the files below them, that have to be brought along."""
    mirrored: bool = False
    """They are, before the guest runs there: they have to be equal, and closed here, while it stands."""

    @property
    def dirty_bytes_per_s(self) -> float:
        """How fast the guest writes pages, by the shortest span."""
        return self.writes[0][1] if self.writes else 0.0

    @property
    def working_set_bytes(self) -> float:
        """The pages that it writes again and again; all of its memory where no end of them was seen."""
        if len(self.writes) < 2:
            return float(self.resident_bytes)
        (_, rate), (span_s, slower) = self.writes[0], self.writes[-1]
        # A fifth less over three times the span: it has come round.
        seen = slower * span_s
        return seen if slower < 0.8 * rate else float(self.resident_bytes)


@dataclass(frozen=True)
class Lessons:
    """What earlier migrations from this host taught. `runs` of 0: the lab's figures, and wide ranges."""

    runs: int = 0
    copy_scale: float = 1.0
    """The copy took this many times what the formula says: zero pages shorten it, encryption lengthens it."""
    fixed_total_s: float = 2.1
    """Empty guest started, tunnel made, late frames awaited, source retired (our lab: 1.6 to 2.4 s)."""
    fixed_blackout_s: float = 0.018
    """Device state, stop, start, two journal writes and one message (our lab: 8 to 29 ms)."""
    total_spread: float = 0.35
    """Of five earlier forecasts four were off by no more than this share."""
    blackout_spread: float = 0.7
