"""Mends what CRIU (up to 4.2) writes down so that it restores it wrongly: timerfds. It changes nothing else.

One with a period that ran off while its owner stood has no time left until it is read: CRIU would switch it off.
One that was set to a point in time is set anew to a whole second, up to a second too early.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segue.adapters.criu import images

NAME: Final = "files.img"
TIMER: Final = 12
"""criu/images/fdinfo.proto: file_entry.tfd."""
TIMER_FIELDS: Final = {
    "ticks": 5,
    "settime_flags": 6,
    "vsec": 7,
    "vnsec": 8,
    "isec": 9,
    "insec": 10,
}
"""criu/images/timerfd.proto: timerfd_entry, as far as it is looked at. v: until it runs off, i: its period."""
POINT_IN_TIME, CANCEL_ON_SET = 1, 2
"""TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET"""


Entry: Final = images.entry_type(
    {
        "Timer": {name: (number, images.NUMBER) for name, number in TIMER_FIELDS.items()},
        "Entry": {"tfd": (TIMER, "Timer")},
    }
)


def mend(folder: Path) -> None:
    """The images of an application that was dumped, before it is restored from them. Raises OSError, ValueError."""
    path = folder / NAME
    if not path.exists():
        return
    before = path.read_bytes()
    after = before[: images.HEAD_BYTES] + b"".join(
        images.packed(_mended(entry)) for entry in images.entries(before, NAME)
    )
    if after != before:
        half = path.with_name(f".{NAME}")
        half.write_bytes(after)
        half.replace(path)


def _mended(entry: bytes) -> bytes:
    """The very same bytes where there is nothing to mend."""
    message = images.decoded(Entry, entry, NAME)
    timer = message.tfd
    absolute = bool(timer.settime_flags & POINT_IN_TIME) and not timer.settime_flags & CANCEL_ON_SET
    ran_off = bool(timer.ticks) and not timer.vsec and not timer.vnsec
    if absolute:
        timer.settime_flags &= ~POINT_IN_TIME  # What is written down is the time that was left.
    if ran_off:
        timer.vsec, timer.vnsec = timer.isec, timer.insec
    return bytes(message.SerializeToString()) if absolute or ran_off else entry
