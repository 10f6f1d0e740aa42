"""Reads the order of a maintenance, YAML or JSON; what is not understood is refused, never skipped."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct, field

from segue.cli import fleet_file, playbook, procedures, values
from segue.errors import Kind, Refused
from segue.model.maintenance import Alerts, Order, Scope, Step, StepKind, Strategy, Window
from segue.model.migration import Limits

Time = Any
"""Text, seconds since 1970, or what YAML itself has made of a time."""
EARLIEST_S: Final = 1e9
"""In 2001: less is no number of seconds since 1970 that anybody means."""
YAML: Final = ".yaml"
PLAYBOOK: Final = "playbook"
OPTIONS: Final = frozenset(
    {
        "name",
        "within",
        "takes",
        "retries",
        "when",
        "graceful",
        "target",
        "version",
        "burn_in",
        "file",
        "sha256",
    }
)
GIVEN: Final = re.compile(r"\$([a-z_]+)")
"""In a procedure: what the order has to say, under `with`."""


class ScopeText(Struct, forbid_unknown_fields=True):
    """One of the three."""

    hosts: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    domain: str = ""


class WindowText(Struct, forbid_unknown_fields=True):
    """Times as 2026-11-28T02:00 (this machine's) or with a zone."""

    begins: Time = 0
    ends: Time = 0


class AlertsText(Struct, forbid_unknown_fields=True):
    """A Prometheus server, and a query that gives nothing while all is well."""

    prometheus: str
    query: str = Alerts.query


class StrategyText(Struct, forbid_unknown_fields=True):
    """How careful."""

    at_once: int = 1
    per_domain: dict[str, int] = field(default_factory=dict)
    moves_per: dict[str, int] = field(default_factory=dict)
    canary: int = 0
    bake: str | int = 0
    alerts: AlertsText | None = None
    failures: int = 1
    parallel: int = 4
    max_blackout: str = ""
    notice: str | int = 0
    force: bool = False


class OrderText(Struct, forbid_unknown_fields=True):
    """The whole file."""

    name: str
    scope: ScopeText
    procedure: str | list[str | dict[str, Any]]
    title: str = ""
    given: dict[str, str] = field(default_factory=dict, name="with")
    window: WindowText = field(default_factory=WindowText)
    strategy: StrategyText = field(default_factory=StrategyText)


def load(path: str) -> Order:
    """`-` is stdin. Raises Refused for anything that is wrong."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        data = msgspec.json.decode(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        beside = Path(path).parent if path != "-" else Path()
        return _order(msgspec.convert(data, OrderText), beside)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError, yaml.YAMLError, ValueError) as error:
        raise _wrong(path, " ".join(str(error).split())) from error
    except Refused as error:
        raise _wrong(path, f"{error.what}: {error.why}") from error


def _order(written: OrderText, beside: Path) -> Order:
    label, value = fleet_file.pair(written.scope.domain) if written.scope.domain else ("", "")
    scope = Scope(tuple(written.scope.hosts), dict(written.scope.labels), label, value)
    window = Window(_time(written.window.begins), _time(written.window.ends))
    written_steps = _written_steps(written.procedure, written.given)
    steps = tuple(_step(_played(step, beside)) for step in written_steps)
    return Order(written.name, scope, steps, window, _strategy(written.strategy), written.title)


def names() -> list[str]:
    """Of the ready-made procedures."""
    found = resources.files(procedures).iterdir()
    return sorted(each.name.removesuffix(YAML) for each in found if each.name.endswith(YAML))


def ready_made(name: str) -> str:
    """One of them, as YAML that can be put into an order. Raises Refused where there is none of that name."""
    if name not in names():
        raise Refused(
            what=f"there is no procedure {name[:40]}",
            why=f"there are: {', '.join(names())}",
            todo="Choose one of them, or write the steps into the order.",
            kind=Kind.NOT_FOUND,
        )
    return (resources.files(procedures) / f"{name}{YAML}").read_text(encoding="utf-8")


def purpose(name: str) -> str:
    """What a ready-made procedure says of itself first."""
    head = [line.removeprefix("# ") for line in ready_made(name).splitlines() if line.startswith("#")]
    return " ".join(head).partition(". ")[0].removesuffix(".")


def _written_steps(text: str | Sequence[Any], given: Mapping[str, str]) -> Sequence[Any]:
    """The steps themselves, or those of a ready-made procedure, with what they were given."""
    found: Sequence[Any] = yaml.safe_load(ready_made(text))["procedure"] if isinstance(text, str) else text
    wanted = {name for step in found for name in _wanted(step).values()}
    if wanted != given.keys():
        needs = ", ".join(sorted(wanted)) or "nothing"
        raise ValueError(
            f"the procedure takes {needs} under `with`; found: {', '.join(sorted(given)) or 'nothing'}"
        )
    return [
        {**step, **{k: given[n] for k, n in _wanted(step).items()}} if _wanted(step) else step
        for step in found
    ]


def _wanted(step: Any) -> dict[str, str]:
    """Its keys whose value has to be given, and by which name; a script has names of its own."""
    if not isinstance(step, Mapping):
        return {}
    said = {key: GIVEN.fullmatch(value) for key, value in step.items() if isinstance(value, str)}
    return {key: word[1] for key, word in said.items() if word and key != StepKind.RUN}


def _strategy(text: StrategyText) -> Strategy:
    alerts = Alerts(text.alerts.prometheus, text.alerts.query) if text.alerts else Alerts()
    return Strategy(
        at_once=text.at_once,
        per_domain=text.per_domain,
        moves_per=text.moves_per,
        canary=text.canary,
        bake_s=values.duration_s(str(text.bake)),
        alerts=alerts,
        failures=text.failures,
        parallel=text.parallel,
        limits=Limits(
            blackout_s=values.duration_s(text.max_blackout) if text.max_blackout else Limits().blackout_s,
            blackout_said=bool(text.max_blackout),
            notice_s=values.duration_s(str(text.notice)),
        ),
        force=text.force,
    )


def _played(text: str | Mapping[str, Any], beside: Path) -> str | Mapping[str, Any]:
    """`playbook: FILE` is a script that has it played; FILE lies beside the order."""
    if isinstance(text, str) or PLAYBOOK not in text:
        return text
    inside = text[PLAYBOOK]
    more = {"file": inside} if not isinstance(inside, Mapping) else dict(inside)
    path = beside / str(more.pop("file", ""))
    rest = {key: value for key, value in text.items() if key != PLAYBOOK}
    return {"name": path.stem, **more, **rest, StepKind.RUN: playbook.script(path)}


def _step(text: str | Mapping[str, Any]) -> Step:
    """`drain`; `run: apt-get update`; `drain: {within: 1h}`; `run: ...` with its options beside it."""
    if isinstance(text, str):
        return Step(_kind(text))
    kinds = [key for key in text if key not in OPTIONS]
    if len(kinds) != 1:
        raise ValueError(
            f"a step is one of {', '.join(StepKind)}; found: {', '.join(map(str, text)) or 'none'}"
        )
    kind, inside = _kind(kinds[0]), text[kinds[0]]
    options = {key: text[key] for key in text if key in OPTIONS}
    if isinstance(inside, Mapping):
        options |= inside
        inside = options.pop("image" if kind is StepKind.FIRMWARE else "script", "")
    if unknown := sorted(options.keys() - OPTIONS):
        raise ValueError(
            f"a step has no key {', '.join(unknown)}; known: {', '.join(sorted(OPTIONS))}, script, image"
        )
    when = options.get("when", "always")
    if when not in ("always", "wanted"):
        raise ValueError(f"`when` is always or wanted, not {when}")
    if not isinstance(inside or "", str):
        raise ValueError(f"`{kind}` takes text, not {inside!r}: write it in quotes, or as a block after `|`")
    retries = options.get("retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise ValueError(f"`retries` is a whole number, not {retries!r}")
    if not isinstance(options.get("version", ""), str):
        raise ValueError("`version` is text: write it in quotes, or 1.10 becomes 1.1")
    text_ = str(inside or "")
    if kind is StepKind.FIRMWARE and text_ and "file" in options and "://" not in text_:
        raise ValueError(f"a step pushes one file; found: {text_}, {options['file']}")
    is_firmware, is_url = kind is StepKind.FIRMWARE, "://" in text_
    return Step(
        kind,
        script="" if is_firmware else text_,
        name=str(options.get("name", "")),
        within_s=values.duration_s(str(options.get("within", 0))),
        takes_s=values.duration_s(str(options.get("takes", 0))),
        retries=retries,
        when_wanted=when == "wanted",
        graceful_s=values.duration_s(str(options.get("graceful", Step.graceful_s))),
        image=text_ if is_firmware and is_url else "",
        file=str(options.get("file", "" if is_url or not is_firmware else text_)),
        sha256=str(options.get("sha256", "")),
        burn_s=values.duration_s(str(options.get("burn_in", 0))),
        target=str(options.get("target", "")),
        version=str(options.get("version", "")),
    )


def _kind(text: object) -> StepKind:
    if text not in set(StepKind):
        raise ValueError(f"there is no step `{text}`; there are: {', '.join(StepKind)}")
    return StepKind(str(text))


def _time(text: Time) -> float:
    """Seconds since 1970; YAML may have made a time of it already, and one without a zone is this machine's."""
    if isinstance(text, datetime):
        return text.timestamp()
    if isinstance(text, int | float) and not isinstance(text, bool):
        if text and not EARLIEST_S <= text < math.inf:
            raise ValueError(
                f"{text} is no time: write a date, too, as 2026-11-28T22:00; 22:00 alone is a number to YAML"
            )
        return float(text)
    return datetime.fromisoformat(str(text)).timestamp()


def _wrong(path: str, why: str) -> Refused:
    return Refused(
        what=f"the maintenance in {path} is not understood",
        why=why,
        todo="Mend it; docs/reference/maintenance.md has every key.",
        kind=Kind.USAGE,
    )
