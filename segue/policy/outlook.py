"""What the move of one guest of a fleet is expected to take, from the figures its agent reported last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from segue.model.fleet import FleetGuest, FleetHost
from segue.model.foresight import Figures, Lessons
from segue.model.migration import Limits
from segue.model.plan import Outlook
from segue.policy import forecast

SPANS_S: Final = (0.15, 0.45)
"""As in a forecast: the working set is what a longer span shows less of."""


@dataclass(frozen=True)
class Basis:
    """What all outlooks of a plan share: the operator's limits, and what earlier migrations taught."""

    limits: Limits = field(default_factory=Limits)
    lessons: Lessons = field(default_factory=Lessons)


def of_move(guest: FleetGuest, source: FleetHost, target: FleetHost, basis: Basis) -> Outlook:
    """Over the slower of both hosts' links, without other moves beside it."""
    return at_speed(guest, min(source.link_bytes_per_s, target.link_bytes_per_s), basis)


def at_speed(guest: FleetGuest, path_bytes_per_s: float, basis: Basis) -> Outlook:
    """Disks are copied before the rounds; memory as segue.policy.forecast has it."""
    held = guest.copied_bytes - guest.needs.disk_bytes
    foreseen = forecast.forecast(
        Figures(held, path_bytes_per_s, _writes(guest, held)), basis.lessons, basis.limits
    )
    disks_s = guest.needs.disk_bytes / foreseen.link_bytes_per_s
    return Outlook(
        total_s=foreseen.total_s + disks_s,
        blackout_s=foreseen.blackout_s,
        copied_bytes=guest.copied_bytes,
        converges=foreseen.converges,
    )


def _writes(guest: FleetGuest, held: int) -> tuple[tuple[float, float], ...]:
    """Two spans that show the rate, and the working set where it is known."""
    if not guest.dirty_bytes_per_s:
        return ()
    short, long = SPANS_S
    working = held if guest.working_set_bytes is None else min(held, guest.working_set_bytes)
    slower = working / long
    if slower >= guest.dirty_bytes_per_s:
        return ((short, guest.dirty_bytes_per_s),)
    return (short, guest.dirty_bytes_per_s), (long, slower)
