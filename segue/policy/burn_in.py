"""Reads what a burn-in guest says of itself on its console, and judges it. Pure."""

from __future__ import annotations

import re
from typing import Final

from segue.model.verification import Said

LINE: Final = re.compile(r"segue-burn-in (ok|bad[^\r\n]*)[\r\n]")
"""Of each look at its own memory; whole lines only: the last one may just be being written."""
SPARE_BYTES: Final = 96 << 20
"""For the guest's own system."""
RATE: Final = "64M"


def cmdline(memory_bytes: int, every_s: int) -> str:
    """The kernel's: it writes all the memory that it can spare, round and round, and looks at it so often."""
    size = max(16 << 20, memory_bytes - SPARE_BYTES)
    return f"segue.dirty={RATE}/{size >> 20}M segue.burn-in={every_s}"


def said(console: str) -> Said:
    """What it has said on this host, in all."""
    found = LINE.findall(console)
    bad = [line for line in found if line != "ok"]
    return Said(len(found) - len(bad), tuple(bad[-3:]))


def against(said: Said, least: int) -> str:
    """Why it did not pass; empty where it did. least: looks that it must have had."""
    if said.bad:
        return f"its own memory was not what it had written: {'; '.join(said.bad)}"
    if said.good < least:
        return f"it looked {said.good} times at its memory, and not {least} times"
    return ""
