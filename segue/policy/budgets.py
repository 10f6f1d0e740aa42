"""What a move of an application costs and may cost: its memory is copied while it stands, unlike a machine's."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from segue.model.guest import Guest
from segue.model.ladder import Rung
from segue.model.migration import Forecast, Limits

BLACKOUT_S: Final = 3.0
"""An application's budget where nobody set another than a machine's usual one."""
FIXED_BLACKOUT_S: Final = 0.35
"""crun and CRIU started twice, descriptions written and read, no memory (our lab)."""
COPY_BYTES_PER_S: Final = 1e9
"""It is looked at on the source and read on the target, or copied by CRIU on both (our lab: about 1 ms for each MB)."""
LOOK_BYTES_PER_S: Final = 2e9
"""It is only looked at on the source (our lab: 0.5 ms for each MB)."""
BESIDE_S: Final = 4.0
"""Room made, connections, two rounds of files, late frames awaited, source retired."""
SPREAD: Final = 0.7


def limits_of(guest: Guest, limits: Limits) -> Limits:
    """The operator's limits, as they are for this sort of guest."""
    if not guest.is_app:
        return limits
    ladder = tuple(rung for rung in limits.ladder if rung is Rung.WAIT)
    on_demand = limits.on_demand or limits.post_copy
    usual = not limits.blackout_said and limits.blackout_s == Limits().blackout_s
    blackout_s = BLACKOUT_S if usual else limits.blackout_s
    return replace(limits, blackout_s=blackout_s, ladder=ladder, on_demand=on_demand, post_copy_after=-1)


def forecast(
    memory_bytes: int, path_bytes_per_s: float, way: str, *, goes_before: bool, on_demand: bool = False
) -> Forecast:
    """memory_bytes: resident in all its processes; files are not counted, as they go before it stands.

    way: how its memory goes and why so, for people. goes_before: most of it is sent while it runs, and only written and
    read while it stands; what changed last is counted by the rounds. on_demand: it is not read while it stands.
    """
    speed = COPY_BYTES_PER_S if goes_before else min(path_bytes_per_s, COPY_BYTES_PER_S)
    if goes_before and on_demand:
        speed, way = LOOK_BYTES_PER_S, f"{way}; it is put in place on the target once it runs there"
    blackout_s = FIXED_BLACKOUT_S + memory_bytes / speed
    total_s = BESIDE_S + blackout_s + (memory_bytes / path_bytes_per_s if goes_before else 0.0)
    return Forecast(
        total_s=total_s,
        total_low_s=total_s / (1 + SPREAD),
        total_high_s=total_s * (1 + SPREAD),
        blackout_s=blackout_s,
        blackout_low_s=blackout_s / (1 + SPREAD),
        blackout_high_s=blackout_s * (1 + SPREAD),
        memory_bytes=memory_bytes,
        dirty_bytes_per_s=0.0,
        link_bytes_per_s=path_bytes_per_s,
        converges=True,
        basis=f"{way}; so do its files",
        path_bytes_per_s=path_bytes_per_s,
    )
