"""How a service is told to write its log."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class LogForm(StrEnum):
    """json: one object a line, for programs."""

    LOGFMT = "logfmt"
    JSON = "json"


Logs = Annotated[LogForm, typer.Option("--logs", envvar="SEGUE_LOGS", help="How the log is written.")]


def configure(form: LogForm, **always: str) -> None:
    """Before a service starts. always: what stands in each line."""
    from segue.adapters import logs

    logs.configure(json=form is LogForm.JSON, **always)
