"""`segue app logs --follow`: prints what a host sends for as long as it sends."""

from __future__ import annotations

import contextlib
from typing import Final

import httpx2
import typer

from segue.cli import fleet

SILENCE_S: Final = 7 * 86_400.0
"""An application may say nothing for days."""


def pour(host: fleet.Host, path: str) -> None:
    """Until the other end closes, or Ctrl-C. Raises Refused where the host does not answer."""
    try:
        with host.client(SILENCE_S) as client, client.stream("GET", path) as answer:
            answer.raise_for_status()
            with contextlib.suppress(KeyboardInterrupt):
                for part in answer.iter_text():
                    typer.echo(part, nl=False)
    except httpx2.HTTPError as error:
        raise host.unreachable(error) from error
