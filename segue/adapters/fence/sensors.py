"""What a host's BMC says of its power supplies, fans and temperatures, by Redfish. It judges nothing.

A slot that was always empty, and a sensor that shows what cannot be, are held against nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from segue.adapters.fence.bmc import Line
from segue.adapters.health.hwmon import COLDEST_C, HOTTEST_C
from segue.adapters.health.source import Look, Unseen
from segue.errors import Refused
from segue.model.fencing import Bmc
from segue.model.health import Kind, Part, Sample

DEAD_STATES: Final = frozenset({"UnavailableOffline", "Disabled"})
See = Callable[[Look, Any, str, str], None]
"""(look, entry, name, source)."""


class Sensors:
    """Engine port `Probe` of one BMC."""

    name = "bmc"
    every_s = 30.0
    heavy = False

    def __init__(self, host: str, bmc: Bmc) -> None:
        self._line = Line(host, bmc, f"the sensors of {host} are not seen")
        self._url = bmc.url

    def look(self) -> Sample:
        """What they show now; where the BMC does not answer that is all that is said."""
        look = Look(self.name)
        try:
            self._line.now(lambda root, system: self._look(look, root, system))
        except Refused as error:
            look.miss(Unseen(self._url, error.why))
        return look.sample()

    def _look(self, look: Look, root: Any, system: Any) -> None:
        found = _chassis(system)
        supplies = _listed(found, "power", "power_supplies")
        if not supplies:
            found = list(root.get_chassis_collection().get_members())
            supplies = _listed(found, "power", "power_supplies")
        self._each(look, "power supply", supplies, _supply)
        if _is_off(system):
            return  # Its fans stand, and nothing is warm: that is no trouble.
        self._each(look, "fan", _listed(found, "thermal", "fans"), _fan)
        self._each(look, "temperature", _listed(found, "thermal", "temperatures"), _temperature)

    def _each(self, look: Look, what: str, entries: list[tuple[str, Any]], see: See) -> None:
        """Some makers call all of them the same: then they are told apart by their place."""
        if not entries:
            look.miss(Unseen(self._url, f"its BMC lists no {what}"))
        names = Counter(str(entry.name) for _, entry in entries)
        longer = Counter(f"{entry.name} {entry.identity}" for _, entry in entries)
        for number, (path, entry) in enumerate(entries):
            name = str(entry.name)
            if names[name] > 1:
                by_id = f"{name} {entry.identity}"
                name = by_id if longer[by_id] == 1 else f"{name} {number}"
            try:
                see(look, entry, name, f"{self._url}{path}")
            except Unseen as unseen:
                look.miss(unseen)


def _is_off(system: Any) -> bool:
    return bool(system.power_state) and system.power_state.value == "Off"


def _chassis(system: Any) -> list[Any]:
    from sushy import exceptions

    try:
        return list(system.chassis)
    except (exceptions.MissingAttributeError, exceptions.ResourceNotFoundError):
        return []


def _listed(chassis: Iterable[Any], resource: str, entries: str) -> list[tuple[str, Any]]:
    """(path, entry) of all of them."""
    from sushy import exceptions

    found: list[tuple[str, Any]] = []
    for each in chassis:
        try:
            inside = getattr(each, resource)
        except (exceptions.MissingAttributeError, exceptions.ResourceNotFoundError):
            continue
        found += [(str(inside.path), entry) for entry in getattr(inside, entries) or ()]
    return found


def _supply(look: Look, entry: Any, name: str, source: str) -> None:
    no_input = entry.line_input_voltage == 0 and _health(entry) != "OK"
    _status(look, Part(Kind.POWER, name, spares="power"), entry, source, lost=no_input)


def _fan(look: Look, entry: Any, name: str, source: str) -> None:
    part = Part(Kind.FAN, name, spares="fans")
    units = entry.reading_units.value if entry.reading_units else ""
    if _status(look, part, entry, source) and entry.reading is not None and units == "RPM":
        look.see(part, "rpm", float(entry.reading), source)


def _temperature(look: Look, entry: Any, name: str, source: str) -> None:
    part = Part(Kind.TEMPERATURE, name)
    if _state(entry) != "Enabled":
        return
    look.see(part, "critical_alarm", float(_health(entry) == "Critical"), source)
    look.see(part, "warning", float(_health(entry) == "Warning"), source)
    if entry.reading_celsius is None:
        return
    celsius = float(entry.reading_celsius)
    if not COLDEST_C <= celsius <= HOTTEST_C:
        raise Unseen(source, f"{name} shows {celsius:g} degrees Celsius, which cannot be")
    look.see(part, "celsius", celsius, source)
    critical = entry.upper_threshold_critical or entry.upper_threshold_fatal
    for limit, signal in (
        (entry.upper_threshold_non_critical, "share_of_max"),
        (critical, "share_of_critical"),
    ):
        if limit and 0 < limit <= HOTTEST_C:
            look.see(part, signal, celsius / limit, source)


def _status(look: Look, part: Part, entry: Any, source: str, *, lost: bool = False) -> bool:
    """True for one that is there."""
    state, health = _state(entry), _health(entry)
    there = state != "Absent"
    look.see(part, "present", float(there), source)
    if there:
        look.see(part, "alarm", float(lost or health == "Critical" or state in DEAD_STATES), source)
        look.see(part, "warning", float(health == "Warning"), source)
    return there


def _state(entry: Any) -> str:
    found = entry.status.state if entry.status else None
    return str(found.value) if found else "Enabled"


def _health(entry: Any) -> str:
    found = entry.status.health if entry.status else None
    return str(found.value) if found else ""
