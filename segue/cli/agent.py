"""`segue agent`: runs this host's agent in the foreground, as its service does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def agent(
    config: Annotated[Path, typer.Option(help="The agent's configuration.")] = Path("/etc/segue/agent.toml"),
) -> None:
    """Run this host's agent: it owns the host's guests, and ends without touching them.

    Example: segue agent --config /etc/segue/agent.toml
    """
    import asyncio

    import structlog

    from segue.agent import config as settings
    from segue.agent.main import serve

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ]
    )
    asyncio.run(serve(settings.load(config)))
