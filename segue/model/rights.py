"""Who may do what through the controller: one table of verbs. Code looks up; it never re-decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RANKS: Final = {"viewer": 0, "operator": 1, "admin": 2}
"""People. Each role may do what those below it may."""


class Verb(StrEnum):
    """What can be asked of a controller."""

    LOOK = "look"
    FOLLOW = "follow"
    SURVEY = "survey"
    PLAN = "plan"
    CREATE = "create"
    MOVE = "move"
    UPDATE = "update"
    POWER = "power"
    CORDON = "cordon"
    DRAIN = "drain"
    STEER = "steer"
    LABEL = "label"
    BALANCE = "balance"
    MAINTAIN = "maintain"
    VOUCH = "vouch"
    FENCE = "fence"
    ADOPT = "adopt"
    RENEW = "renew"
    REVOKE = "revoke"
    TOKENS = "tokens"
    AUDIT = "audit"


@dataclass(frozen=True)
class Right:
    """`least`: the lowest role that may. `whole`: it is about the whole fleet, so that nobody with a scope may."""

    least: str
    whole: bool = False


RIGHTS: Final[Mapping[Verb, Right]] = {
    Verb.LOOK: Right("viewer"),
    Verb.FOLLOW: Right("viewer", whole=True),
    Verb.SURVEY: Right("viewer", whole=True),
    Verb.PLAN: Right("viewer"),
    Verb.RENEW: Right("viewer", whole=True),  # its own certificate alone
    Verb.CREATE: Right("operator"),
    Verb.MOVE: Right("operator"),
    Verb.UPDATE: Right("operator"),
    Verb.POWER: Right("operator"),
    Verb.CORDON: Right("operator"),
    Verb.DRAIN: Right("operator"),
    Verb.STEER: Right("operator"),
    Verb.LABEL: Right("operator", whole=True),  # else whoever has a scope would choose what is in it
    Verb.BALANCE: Right("operator", whole=True),
    Verb.VOUCH: Right("operator", whole=True),  # that a part was mended, that a domain has lost one
    Verb.MAINTAIN: Right("admin", whole=True),  # its scripts run as root on hosts
    Verb.FENCE: Right("admin", whole=True),
    Verb.ADOPT: Right("admin", whole=True),  # hosts change their masters
    Verb.REVOKE: Right("admin", whole=True),
    Verb.TOKENS: Right("admin", whole=True),
    Verb.AUDIT: Right("admin", whole=True),
}
