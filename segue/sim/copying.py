"""A copy of memory under way between two simulated QEMUs: rounds, dirty pages, a link that others use too.

Nothing happens by callbacks: whoever looks has it caught up to now.
"""

from __future__ import annotations

from typing import Final

from segue.model.migration import Progress
from segue.sim.qemu import Qemu
from segue.sim.world import Load

ROUND_LEAST_S: Final = 0.1
"""QEMU looks at its limits so often; a round is never shorter."""
STEP_S: Final = 0.5
"""What the link gives is taken as constant for so long."""


class Copying:
    """From one QEMU to another. `remaining` counts what is dirty at the source."""

    def __init__(self, source: Qemu, target: Qemu, load: Load, now_s: float) -> None:
        self.source, self.target, self.load = source, target, load
        self.begun_s = self.at_s = now_s
        self.round = 1
        self.remaining = float(source.guest.memory_bytes)
        self.transferred = 0.0
        self.slowdown = 0.0
        self.dirtied = 0.0
        self.round_s = 0.0
        self.hung_up = False
        source.host.sending.append(self)
        target.host.receiving.append(self)

    @property
    def broken(self) -> str:
        """Why nothing will arrive any more; empty while it may."""
        if self.hung_up:
            return "the copy was ended"
        if not self.target.alive:
            return "QEMU on the target ended"
        return "" if not self.target.failed else "the target gave the copy up"

    @property
    def dirty_bytes_per_s(self) -> float:
        """What the guest writes now."""
        return self.load.dirty_bytes_per_s * (1 - self.slowdown) if self.source.running else 0.0

    def bytes_per_s(self) -> float:
        """What the link gives this copy now; 0 where it is cut."""
        here, there = self.source.host, self.target.host
        if not here.world.fabric.joins(here.name, there.name) or self.broken:
            return 0.0
        share = here.link_bytes_per_s / max(1, len(here.sending))
        return min(share, there.link_bytes_per_s / max(1, len(there.receiving)))

    def catch_up(self, now_s: float) -> None:
        """To this instant."""
        while self.at_s < now_s - 1e-9:
            span_s = min(STEP_S, now_s - self.at_s)
            self._pass(span_s)
            self.at_s += span_s

    def _pass(self, span_s: float) -> None:
        speed = self.bytes_per_s()
        while span_s > 1e-9:
            full_s = max(self.remaining / speed, ROUND_LEAST_S - self.round_s) if speed else float("inf")
            part_s = min(span_s, full_s)
            sent = min(self.remaining, speed * part_s)
            self.remaining -= sent
            self.transferred += sent
            self.dirtied += self.dirty_bytes_per_s * part_s
            self.round_s += part_s
            span_s -= part_s
            if part_s == full_s:
                self._next_round()

    def _next_round(self) -> None:
        self.round += 1
        self.remaining = min(self.dirtied, float(self.load.working_set_bytes))
        self.dirtied = self.round_s = 0.0

    def round_ends_in_s(self) -> float:
        """Seconds, as it looks now."""
        speed = self.bytes_per_s()
        return max(self.remaining / speed, ROUND_LEAST_S - self.round_s) if speed else float("inf")

    def rest_bytes(self) -> float:
        """What would have to be sent if the guest stood now."""
        return self.remaining + min(self.dirtied, float(self.load.working_set_bytes))

    def sample(self, now_s: float) -> Progress:
        """As QEMU shows it."""
        return Progress(
            round=self.round,
            total_bytes=self.source.guest.memory_bytes,
            remaining_bytes=int(self.rest_bytes()),
            transferred_bytes=int(self.transferred),
            copied_bytes=int(self.transferred),
            dirty_bytes_per_s=self.dirty_bytes_per_s,
            link_bytes_per_s=self.bytes_per_s(),
            elapsed_s=now_s - self.begun_s,
            slowdown=self.slowdown,
        )

    def hang_up(self) -> None:
        """It ends, however far it is. Safe to repeat."""
        if self.hung_up:
            return
        self.hung_up = True
        self.source.host.sending.remove(self)
        self.target.host.receiving.remove(self)
        self.source.outgoing = None
        self.target.breaks_off()
