"""The system's clock: whether somebody keeps it, and how far off that one thinks it is. It never sets it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
from typing import Final

from segue.adapters.health.source import Look, Roots, Unseen, program
from segue.model.health import Kind, Part, Sample

SYSTEM: Final = Part(Kind.CLOCK, "system")
WITHIN_S: Final = 5.0
STA_UNSYNC, STA_NANO = 0x0040, 0x2000
"""adjtimex(2)."""
TRACKING_FIELDS: Final = 14
"""`chronyc -c tracking`: id, name, stratum, time, offset, last, rms, frequency, ..., leap status."""


class Timex(ctypes.Structure):
    """struct timex of adjtimex(2), 64 bit; what lies behind `tick` is not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 128),
    )


class Clock:
    """Port `Probe`. Chrony's word where it runs, else the kernel's."""

    name = "clock"
    every_s = 120.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._chronyc = roots.chronyc

    def look(self) -> Sample:
        """How the clock is now."""
        look = Look(self.name)
        try:
            if self._chronyc and shutil.which(self._chronyc):
                tracking(look, self._chronyc, program([self._chronyc, "-c", "tracking"], WITHIN_S))
            else:
                _kernel(look)
        except Unseen as unseen:
            look.miss(unseen)
        return look.sample()


def tracking(look: Look, source: str, answer: str) -> None:
    """Adds chrony's answer. Raises Unseen."""
    fields = answer.strip().split(",")
    if len(fields) < TRACKING_FIELDS:
        raise Unseen(source, f"{answer.strip()[:60]!r} is no answer to `tracking`: does chronyd run?")
    try:
        offset_s = abs(float(fields[4]))
    except ValueError as error:
        raise Unseen(source, f"{fields[4]!r} is not an offset") from error
    look.see(SYSTEM, "offset_s", offset_s, f"{source} -c tracking")
    look.see(SYSTEM, "unsynchronised", float(fields[13] == "Not synchronised"), f"{source} -c tracking")


def _kernel(look: Look) -> None:
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    seen = Timex()
    if libc.adjtimex(ctypes.byref(seen)) < 0:
        raise Unseen("adjtimex", os.strerror(ctypes.get_errno()))
    unit_s = 1e-9 if seen.status & STA_NANO else 1e-6
    look.see(SYSTEM, "offset_s", abs(seen.offset) * unit_s, "adjtimex")
    look.see(SYSTEM, "unsynchronised", float(bool(seen.status & STA_UNSYNC)), "adjtimex")
