"""The system calls that applications may use: the filter of Debian's container packages, for our capabilities."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

PROFILES: Final = (Path("/etc/containers/seccomp.json"), Path("/usr/share/containers/seccomp.json"))
ARCHITECTURE: Final = "amd64"
NATIVE: Final = "SCMP_ARCH_X86_64"
LOST: Final = frozenset(("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"))
"""A process that has given rights up so would have them again after a move: the kernel shows it to nobody, and CRIU
does not know of it. A program hears that there is no such call, as from a kernel without it."""


def profile(capabilities: Collection[str]) -> dict[str, Any]:
    """As the runtime wants it; empty where the host has no profile."""
    for path in PROFILES:
        if path.is_file():
            return convert(json.loads(path.read_text(encoding="utf-8")), capabilities)
    return {}


def convert(found: Mapping[str, Any], capabilities: Collection[str]) -> dict[str, Any]:
    """The profile has rules that hold only with some capability or architecture; the runtime knows no such rules."""
    result: dict[str, Any] = {
        "defaultAction": found["defaultAction"],
        "architectures": _architectures(found),
        "syscalls": list(_rules(found, set(capabilities))),
    }
    if "defaultErrnoRet" in found:
        result["defaultErrnoRet"] = found["defaultErrnoRet"]
    return result


def _architectures(found: Mapping[str, Any]) -> list[str]:
    for entry in found.get("archMap", ()):
        if entry["architecture"] == NATIVE:
            return [NATIVE, *entry.get("subArchitectures", ())]
    return [NATIVE]


def _rules(found: Mapping[str, Any], capabilities: set[str]) -> Iterator[dict[str, Any]]:
    for rule in found.get("syscalls", ()):
        names = [name for name in rule["names"] if name not in LOST]
        if not names or not _holds(rule, capabilities):
            continue
        kept = {key: rule[key] for key in ("action", "errnoRet") if rule.get(key) is not None}
        kept["names"] = names
        if rule.get("args"):
            kept["args"] = [
                {key: value for key, value in arg.items() if key in {"index", "value", "valueTwo", "op"}}
                for arg in rule["args"]
            ]
        yield kept


def _holds(rule: Mapping[str, Any], capabilities: set[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if any(name not in capabilities for name in includes.get("caps") or ()):
        return False
    if includes.get("arches") and ARCHITECTURE not in includes["arches"]:
        return False
    if any(name in capabilities for name in excludes.get("caps") or ()):
        return False
    return ARCHITECTURE not in (excludes.get("arches") or ())
