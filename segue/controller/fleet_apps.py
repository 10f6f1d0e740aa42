"""What planners need to know of applications: images, and what takes running ones out of a host and into another."""

from __future__ import annotations

from dataclasses import replace

from segue.model.fleet import FleetGuest, FleetHost
from segue.model.guest import Guest
from segue.model.host import HostFacts


def host(made: FleetHost, facts: HostFacts) -> FleetHost:
    """The host with what its agent says of applications; an older agent says nothing, and is not refused for that."""
    engine = facts.app_engine
    if not facts.app_runtime or engine is None:
        return made
    fault = "" if engine.criu else engine.fault
    images = frozenset(facts.app_images)
    return replace(made, takes_no_apps=fault, app_images=images, cpu_features=engine.cpu_flags)


def guest(made: FleetGuest, spec: Guest, facts: HostFacts | None) -> FleetGuest:
    """A running application with what it needs elsewhere. facts: of the host that it runs on."""
    if spec.app is None:
        return made
    engine = facts.app_engine if facts is not None else None
    fault = engine.fault if engine is not None and not engine.criu else ""
    return replace(
        made,
        app_image=spec.app.image,
        app_reference=spec.app.reference,
        cpu_features=engine.cpu_flags if engine is not None else frozenset(),
        pinned=made.pinned or (f"{made.host} cannot move applications: {fault}" if fault else ""),
    )
