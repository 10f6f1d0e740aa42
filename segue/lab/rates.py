"""Speeds of links as people write them: `1gbit`, `100mbit`, `none`."""

from __future__ import annotations

import re
from typing import Final

from segue.errors import Kind, Refused

UNITS: Final = {"gbit": 10**9, "mbit": 10**6, "kbit": 10**3}
# The kernel keeps a token bucket's rate as 32 bits of bytes per second.
MOST_BITS_PER_S: Final = 34 * 10**9


def parse(text: str) -> int | None:
    """Bits per second; None stands for no limit."""
    if text == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(gbit|mbit|kbit)", text.lower())
    bits_per_s = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if not 0 < bits_per_s <= MOST_BITS_PER_S:
        raise Refused(
            what=f"cannot set a link to {text}",
            why="that is not a speed between 1kbit and 34gbit",
            todo="Write for example `1gbit`, `100mbit` or `none`.",
            kind=Kind.USAGE,
        )
    return bits_per_s


def show(bits_per_s: int | None) -> str:
    """The shortest spelling."""
    if bits_per_s is None:
        return "none"
    for name, bits in UNITS.items():
        if bits_per_s >= bits:
            return f"{bits_per_s / bits:g}{name}"
    return f"{bits_per_s / 1000:g}kbit"
