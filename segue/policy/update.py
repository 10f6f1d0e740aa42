"""Says whether a guest can get the installed QEMU in place, and what that costs; it looks only at what it is given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.lifecycle import Stage
from segue.model.migration import Forecast, Migration
from segue.policy import compatibility

QEMU_OLDEST: Final = (10, 0)
"""CPR transfer came with it (QEMU's release notes)."""
BLACKOUT_S: Final = 0.02
"""Devices' state and the handoff where nothing is known yet (our lab, two cores, TCG: 12 to 30 ms)."""
TOTAL_S: Final = 3.0
"""The start of a QEMU, and a second of late frames."""
SPREAD: Final = 2.0
NEWEST: Final = 20


@dataclass(frozen=True)
class Running:
    """The guest's QEMU as it runs now. unfit: why its memory cannot be handed over, empty where it can."""

    version: str
    is_outdated: bool
    unfit: str = ""


def is_due(phase: str, state: str, qemu: str, *, is_outdated: bool, again: bool) -> bool:
    """True for a guest that runs in another QEMU than the installed one; again: or in any. An application has none."""
    return (phase, state) == ("owner", "running") and bool(qemu) and (again or is_outdated)


def wave(left: Sequence[str], busy: Collection[str], parallel: int) -> tuple[str, ...]:
    """Those that begin now, so that no more than `parallel` are under way."""
    return tuple(name for name in left if name not in busy)[: max(0, parallel - len(busy))]


def obstacles(guest: Guest, running: Running, installed: HostFacts) -> tuple[str, ...]:
    """Every reason why it cannot be done on this host; none means that it can."""
    return tuple(_obstacles(guest, running, installed))


def _obstacles(guest: Guest, running: Running, installed: HostFacts) -> Iterator[str]:
    old, new = compatibility.version(running.version), compatibility.version(installed.qemu_version)
    if old < QEMU_OLDEST:
        yield f"its QEMU is {running.version}; 10.0 and newer ones can hand a guest's memory over"
    if new < old:
        yield (
            f"the installed QEMU {installed.qemu_version} is older than the {running.version} that runs it, "
            "and takes nothing over from a newer one"
        )
    if running.unfit:
        yield running.unfit
    if guest.machine not in installed.machines:
        yield f"the installed QEMU {installed.qemu_version} has no machine type {guest.machine}"
    yield from compatibility.cpu_obstacles(guest, installed)


def forecast(earlier: Iterable[Migration], memory_bytes: int) -> Forecast:
    """From what earlier updates on this host took. Its memory stays, so it does not matter how much that is."""
    done = [one for one in earlier if one.in_place and one.stage is Stage.DONE and one.outcome.blackout_s > 0]
    done = sorted(done, key=lambda one: -one.started_s)[:NEWEST]
    blackouts = [one.outcome.blackout_s for one in done] or [BLACKOUT_S]
    totals = [one.outcome.total_s for one in done if one.outcome.total_s > 0] or [TOTAL_S]
    blackout_s, total_s = median(blackouts), median(totals)
    basis = f"{len(done)} updates on this host" if done else "no update on this host yet: a guess"
    return Forecast(
        total_s=total_s,
        total_low_s=min(totals) if done else total_s / SPREAD,
        total_high_s=max(totals) if done else total_s * SPREAD,
        blackout_s=blackout_s,
        blackout_low_s=min(blackouts) if done else blackout_s / SPREAD,
        blackout_high_s=max(blackouts) if done else blackout_s * SPREAD,
        memory_bytes=memory_bytes,
        dirty_bytes_per_s=0.0,
        link_bytes_per_s=0.0,
        converges=True,
        basis=basis,
    )
