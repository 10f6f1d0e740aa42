"""Compares a host before and after it was worked on: what changed, and what guests of it would miss now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from segue.model.fleet import FleetGuest, FleetHost
from segue.model.job import Inventory
from segue.policy import fit

WORDS: Final = ("kernel", "qemu", "os", "microcode", "cpu", "firmware")
SHOWN: Final = 12
MEMORY_SHARE: Final = 0.01
"""Less of a difference is what firmware and kernel keep for themselves."""


def changes(before: Inventory, after: Inventory) -> tuple[str, ...]:
    """Everything that is different, in words; a reboot by itself is no difference."""
    return tuple(_changes(before, after))


def losses(before: Inventory, after: Inventory) -> tuple[str, ...]:
    """What it has less than before: features that a guest may have been promised, machine types, memory."""
    return tuple(_losses(before, after))


def baseline(hosts: Iterable[Mapping[str, Collection[str]]]) -> tuple[str, ...]:
    """CPU models that every one of these hosts has with all its features: a guest with one of them can live on each.

    hosts: CPU model -> the features of it that the host lacks. A host that says nothing of models is left out.
    """
    whole = [{model for model, lacks in host.items() if not lacks} for host in hosts if host]
    return tuple(sorted(set.intersection(*whole))) if whole else ()


def baseline_changes(
    before: Inventory, after: Inventory, others: Iterable[Mapping[str, Collection[str]]]
) -> tuple[str, ...]:
    """What the fleet's guests may be promised now and could not before, and the other way round, in words."""
    rest = list(others)
    old, new = set(baseline([*rest, before.cpu_models])), set(baseline([*rest, after.cpu_models]))
    found = []
    if gone := sorted(old - new):
        found.append(f"no CPU model for new guests any more, as not every host has it: {_some(gone)}")
    if more := sorted(new - old):
        found.append(f"CPU model that every host has now: {_some(more)}")
    return tuple(found)


def unfit(guests: Iterable[FleetGuest], host: FleetHost) -> dict[str, str]:
    """Guests that lived there and could not any more, whatever room there is: name -> why. Taints pass."""
    bare = replace(host, taints=())
    found = {guest.name: fit.obstacles(guest, bare) for guest in guests}
    return {name: "; ".join(why) for name, why in sorted(found.items()) if why}


def _changes(before: Inventory, after: Inventory) -> Iterator[str]:
    for word in WORDS:
        old, new = getattr(before, word), getattr(after, word)
        if old != new:
            yield f"{word}: {old or 'not known'} -> {new or 'not known'}"
    if more := sorted(set(after.cpu_flags) - set(before.cpu_flags)):
        yield f"new CPU flags: {_some(more)}"
    if more := sorted(set(after.machines) - set(before.machines)):
        yield f"new machine types: {_some(more)}"
    yield from _losses(before, after)


def _losses(before: Inventory, after: Inventory) -> Iterator[str]:
    if gone := sorted(set(before.cpu_flags) - set(after.cpu_flags)):
        yield f"CPU flags that are gone: {_some(gone)}"
    if gone := sorted(set(before.machines) - set(after.machines)):
        yield f"machine types that are gone: {_some(gone)}"
    for model, lacked in sorted(before.cpu_models.items()):
        if model not in after.cpu_models:
            yield f"CPU model that is gone: {model}"
        elif more := sorted(set(after.cpu_models[model]) - set(lacked)):
            yield f"CPU model {model} lacks now: {_some(more)}"
    if after.cpus < before.cpus:
        yield f"processors: {before.cpus} -> {after.cpus}"
    if after.memory_bytes < before.memory_bytes * (1 - MEMORY_SHARE):
        yield f"memory: {before.memory_bytes >> 20} MiB -> {after.memory_bytes >> 20} MiB"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
