"""May this caller do that? Pure: a role, a scope, a verb, and the labels of what it is about."""

from __future__ import annotations

from collections.abc import Mapping

from segue.model.rights import RANKS, RIGHTS, Verb


def against(role: str, scope: Mapping[str, str], verb: Verb) -> str:
    """Why the caller may not do that to anything; empty where it may, to what is within its scope."""
    right = RIGHTS[verb]
    if RANKS.get(role, -1) < RANKS[right.least]:
        return f"it is a {role}, and to {verb} one must be {_article(right.least)}"
    if right.whole and scope:
        return f"to {verb} is for callers without a scope: it has {shown(scope)}"
    return ""


def within(labels: Mapping[str, str], scope: Mapping[str, str]) -> bool:
    """True where something with these labels is in the scope: it has all of the scope's labels."""
    return scope.items() <= labels.items()


def created(labels: Mapping[str, str], scope: Mapping[str, str]) -> dict[str, str] | None:
    """The labels of something that the caller makes: always within its scope; None where it asks for others."""
    if any(labels.get(key, value) != value for key, value in scope.items()):
        return None
    return {**labels, **scope}


def shown(scope: Mapping[str, str]) -> str:
    """For people: rack=r7,team=web."""
    return ",".join(f"{key}={value}" for key, value in sorted(scope.items()))


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "ao" else f"a {role}"
