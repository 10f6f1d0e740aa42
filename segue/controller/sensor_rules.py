"""By which rules what BMCs see is judged: the built-in ones, and an operator's from the controller's folder."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

from segue.errors import Kind as Sort
from segue.errors import Refused
from segue.model.health import Kind, Rule
from segue.policy import health_rules

FILE: Final = "health.toml"
KINDS: Final = frozenset({Kind.POWER, Kind.FAN, Kind.TEMPERATURE})


class Wishes(msgspec.Struct, forbid_unknown_fields=True):
    """The file: as the table [health] of an agent's configuration."""

    without: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


def load(folder: Path | None) -> tuple[Rule, ...]:
    """All that count. Raises Refused with what is wrong in the file."""
    wishes, path = Wishes(), (folder or Path("/nowhere")) / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _demand_known(path, content)
        wishes = msgspec.convert(content, Wishes)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise _refused(path, str(error)) from error
    if fault := next(health_rules.faults(wishes.rules, wishes.without), ""):
        raise _refused(path, fault)
    for rule in wishes.rules:
        if rule.kind not in KINDS:
            why = f"rule {rule.name}: BMCs see no part of the kind {rule.kind}; it belongs into the hosts' agent.toml"
            raise _refused(path, why)
    every = health_rules.together(wishes.rules, wishes.without)
    return tuple(rule for rule in every if rule.kind in KINDS)


def _demand_known(path: Path, content: dict[str, object]) -> None:
    """A misspelt key of a rule would be silently without effect."""
    rules = content.get("rules", ())
    for rule in rules if isinstance(rules, list) else ():
        unknown = sorted(set(rule) - set(Rule.__dataclass_fields__)) if isinstance(rule, dict) else []
        if unknown:
            raise _refused(path, f"rule {rule.get('name', '')}: there is no key {', '.join(unknown)}")


def _refused(path: Path, why: str) -> Refused:
    return Refused(
        what="the controller cannot start",
        why=f"{path}: {why}",
        todo="Mend the file, or take it away; docs/reference/agent.md has every key of a rule.",
        kind=Sort.USAGE,
    )
