"""How the services write their logs: one line of logfmt for each event."""

from __future__ import annotations

import structlog


def configure() -> None:
    """Before a service starts."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ]
    )
