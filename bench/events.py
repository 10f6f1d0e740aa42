"""What two QEMUs said of one move, by their own time stamps."""

from __future__ import annotations

from typing import Final

from segue.adapters.qemu.monitor import Event, Monitor, stamp_s

ENDS: Final = frozenset({"completed", "failed", "cancelled"})


class Seen:
    """Listens to both ends; `marks` are (what, wall-clock seconds), in the order in which they came."""

    def __init__(self, source: Monitor, target: Monitor | None = None) -> None:
        self.status = ""
        self.stopped_at_s = self.resumed_at_s = 0.0
        self.marks: list[tuple[str, float]] = []
        source.on_event(self._at_source)
        if target is not None:
            target.on_event(self.at_target)

    @property
    def ended(self) -> bool:
        """True once the source says how it went."""
        return self.status in ENDS

    def _at_source(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self.status = str(event["data"]["status"])
            self._mark(f"source {self.status}", event)
        elif event["event"] == "STOP":
            self.stopped_at_s = stamp_s(event)
            self._mark("stopped", event)
        elif event["event"] == "MIGRATION_PASS" and self.stopped_at_s:
            self._mark("last pass", event)

    def at_target(self, event: Event) -> None:
        """Public for a target whose monitor comes up only while the move goes on."""
        if event["event"] == "RESUME":
            self.resumed_at_s = stamp_s(event)
            self._mark("resumed", event)
        elif event["event"] == "MIGRATION":
            self._mark(f"target {event['data']['status']}", event)

    def _mark(self, what: str, event: Event) -> None:
        self.marks.append((what, stamp_s(event)))
