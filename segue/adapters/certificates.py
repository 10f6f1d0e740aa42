"""When certificates end, read from their files as they are now: they may be renewed while a program runs."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509


class Expiries:
    """Reads a file again only after it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, float]] = {}

    def of(self, path: Path) -> float | None:
        """Seconds since 1970 at which the first certificate in it ends; None where none can be read."""
        try:
            changed = path.stat().st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != changed:
                ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
                known = self._known[path] = (changed, ends.timestamp())
        except (OSError, ValueError):
            return None
        return known[1]
