"""How much is drawn: `make test` has to end while somebody waits for it, `make test-long` has the night."""

from __future__ import annotations

import os
from typing import Final

LONG: Final = bool(os.environ.get("SEGUE_LONG"))
SHARE: Final = 1.0 if LONG else 0.25


def examples(number: int) -> int:
    """How many examples hypothesis tries, where `number` is thorough."""
    return max(5, int(number * SHARE))
