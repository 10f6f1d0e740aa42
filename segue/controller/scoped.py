"""What a caller may see of the fleet: everything, or what has the labels of its scope. It changes nothing.

What is out of scope is not there, in the same words: a refusal would say that it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from segue.adapters.http.access import Caller
from segue.controller import fleet
from segue.controller.app import Controller
from segue.errors import Kind, Refused
from segue.model.migration import Migration
from segue.model.task import Task, TaskKind
from segue.policy import rights
from segue.wire.frames import Shown


def sees_host(controller: Controller, by: Caller, name: str) -> bool:
    """True for a host in its scope."""
    return rights.within(fleet.labels(controller.mirror, name), by.scope)


def sees_guest(controller: Controller, by: Caller, name: str) -> bool:
    """True for a guest in its scope."""
    return rights.within(fleet.guest_labels(controller.mirror, name), by.scope)


def hosts(controller: Controller, by: Caller) -> list[str]:
    """Names of all hosts that it may see, in order."""
    return [name for name in sorted(controller.mirror.hosts.items()) if sees_host(controller, by, name)]


def guests(controller: Controller, by: Caller) -> dict[str, Shown]:
    """All guests that it may see, by name."""
    found = fleet.owners(controller.mirror)
    return {name: shown for name, shown in found.items() if sees_guest(controller, by, name)}


def guest(controller: Controller, by: Caller, name: str) -> Shown:
    """Raises Refused where there is none, or none that it may see."""
    found = fleet.guest(controller.mirror, name)
    if not sees_guest(controller, by, name):
        raise fleet.no_guest(name)
    return found


def migrations(controller: Controller, by: Caller) -> Iterator[Migration]:
    """Of guests that it may see."""
    return (m for m in controller.mirror.migrations.values() if sees_guest(controller, by, m.guest))


def sees_task(controller: Controller, by: Caller, task: Task) -> bool:
    """True for a task about nothing but guests or hosts in its scope."""
    if not by.scope:
        return True
    wish = task.wish
    if task.kind is TaskKind.CREATE:
        return rights.within(dict(wish.get("labels", {})), by.scope)
    if task.kind is TaskKind.DRAIN:
        return all(sees_host(controller, by, str(name)) for name in wish["hosts"])
    if "guests" in wish:
        own = all(sees_guest(controller, by, str(name)) for name in wish["guests"])
        return own and sees_host(controller, by, str(wish["host"]))
    return sees_guest(controller, by, str(wish["guest"])) if "guest" in wish else False


def demand_hosts(controller: Controller, by: Caller, names: Iterable[str]) -> None:
    """Raises Refused for a host that is not there, or that it may not see."""
    for name in names:
        controller.books.known(controller.mirror.hosts, name)
        if not sees_host(controller, by, name):
            raise controller.books.none(controller.mirror.hosts, name)


def demand_guests_on(controller: Controller, by: Caller, names: Iterable[str]) -> None:
    """To empty a host is to move what is on it. Raises Refused where something there is out of scope."""
    wanted = set(names)
    for name, shown in fleet.owners(controller.mirror).items():
        if shown.host in wanted and not sees_guest(controller, by, name):
            raise Refused(
                what=f"{shown.host} cannot be emptied by {by.name}",
                why=f"there are guests on it that are not {rights.shown(by.scope)}",
                todo="Ask somebody whose role has no scope.",
                kind=Kind.AUTH,
            )
