"""Hosts that only others have heard of: one that joined while this host had no power may have taken its guests over.

Before a guest is started that others may have, every host has to be asked that *any* of them knows. It must never
forget one, nor change where a known one is.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import structlog

from segue.agent.services import Services
from segue.errors import Refused
from segue.model.roster import NAME

log = structlog.get_logger()


def is_removed(services: Services, host: str) -> bool:
    """Whoever removed it from the fleet has said that it has no guest that matters; its word counts no more."""
    try:
        services.trust.demand_name(host)
    except Refused:
        return True
    return False


def digest(services: Services, other: str = "") -> str:
    """The same on two hosts that know the same hosts, each other among them. other: the one that asks."""
    names = {services.config.name, *services.peers, *([other] if other else [])}
    counted = sorted(name for name in names if not is_removed(services, name))
    return hashlib.sha256("\n".join(counted).encode()).hexdigest()


def unknown_to(services: Services, asker: str, known: str) -> dict[str, str]:
    """Name -> URL of all that this host knows, where the asker's digest says that it knows others."""
    if not known or known == digest(services, asker):
        return {}
    return {name: peer.url for name, peer in services.peers.items() if not is_removed(services, name)}


def meet(services: Services, told: dict[str, str]) -> list[str]:
    """Those that are new can be asked from now on; their names. What agent.toml says of one counts more."""
    found = []
    for name, url in sorted(told.items()):
        known = name in services.peers or name == services.config.name
        if known or not NAME.fullmatch(name) or urlsplit(url).scheme != "https":
            continue
        log.info("a new peer", name=name, url=url)
        services.meet(name, url)
        found.append(name)
    return found
