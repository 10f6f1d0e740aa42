"""How the services write their logs: one line for each event, as logfmt or JSON, with what is known beside it.

It must never hold up whoever writes: what belongs to a guest or a migration is looked up in memory.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

KEYS: Final = ("migration", "guest")
"""By these a line says what it is about: an id, or a guest's name or uuid."""
_about: Final[MutableMapping[str, Mapping[str, str]]] = {}


def configure(*, json: bool, **always: str) -> None:
    """Before a service starts. always: what stands in each line, such as the host."""
    told = {name: word for name, word in always.items() if word}

    def add(_: Any, __: str, event: EventDict) -> EventDict:
        return {**event, **{name: word for name, word in told.items() if name not in event}}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add,
        explain,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(processors=[*shared, _renderer(json)])
    _take_in_others(shared, json)


def note(keys: Iterable[str], **words: str) -> None:
    """From now on lines about any of these bear these words, too."""
    for key in keys:
        _about[key] = words


def forget(keys: Iterable[str]) -> None:
    """They are nothing special any more."""
    for key in keys:
        _about.pop(key, None)


def explain(_: Any, __: str, event: EventDict) -> EventDict:
    """A guest's uuid becomes its name; a migration under way comes with its id, its hosts and its trace."""
    for key in KEYS:
        for name, word in _about.get(str(event.get(key, "")), {}).items():
            if name == "guest" or name not in event:
                event[name] = word
    return event


def _renderer(json: bool) -> Processor:
    if json:
        return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    return structlog.processors.LogfmtRenderer()


def _take_in_others(shared: list[Processor], json: bool) -> None:
    """Warnings of the libraries, in the same form."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(json)],
    )
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
