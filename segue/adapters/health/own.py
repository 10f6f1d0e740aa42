"""The agent's own health: how late its loop comes, and how long its journal's disk takes. Judges nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Unseen
from segue.model.health import Kind, Part, Sample

LOOP: Final = Part(Kind.AGENT, "loop")
JOURNAL: Final = Part(Kind.AGENT, "journal")


class Loop:
    """Port `Probe`. Whoever rests tells it how much too late it was woken."""

    name = "loop"
    every_s = 60.0
    heavy = False

    def __init__(self) -> None:
        self._latest_s = 0.0

    def late(self, seconds: float) -> None:
        """One waking."""
        self._latest_s = max(self._latest_s, seconds)

    def look(self) -> Sample:
        """The latest since the last look."""
        look = Look(self.name)
        look.see(LOOP, "loop_lag_s", round(self._latest_s, 3), "the agent's own loop")
        self._latest_s = 0.0
        return look.sample()


class Journal:
    """Port `Probe`."""

    name = "journal"
    every_s = 600.0
    heavy = True

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def look(self) -> Sample:
        """One durable write beside the journal."""
        from segue.adapters.checkup import host

        look = Look(self.name)
        try:
            look.see(
                JOURNAL,
                "sync_s",
                round(host.sync_s(self._state_dir), 4),
                f"a durable write to {self._state_dir}",
            )
        except OSError as error:
            look.miss(Unseen(self._state_dir, str(error.strerror or error)))
        return look.sample()
