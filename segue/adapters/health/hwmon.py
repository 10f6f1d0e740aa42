"""Sensors by hwmon: temperatures, fans, power supplies. A sensor that shows what cannot be is not believed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Roots, Unseen, folders, number, text
from segue.model.health import Kind, Part, Sample

COLDEST_C, HOTTEST_C = -40.0, 150.0
INPUT: Final = re.compile(r"(temp|fan)(\d+)_input")
ALARM: Final = re.compile(r"(in|curr|power|fan)(\d+)_(?:\w+_)?(?:alarm|fault)")
"""Not that somebody has opened the case (intrusion), nor a temperature's, which has figures of its own."""
POWER_CHIPS: Final = ("pmbus", "psu", "acpi_power", "ibm", "dps", "crps", "fsp", "pfe", "ucd")
"""Chips of power supplies: their voltages and fans belong to the supply."""


class Hwmon:
    """Port `Probe`."""

    name = "hwmon"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._hwmon = roots.sysfs / "class" / "hwmon"

    def look(self) -> Sample:
        """What every chip shows now."""
        look = Look(self.name)
        chips = folders(self._hwmon, "hwmon[0-9]*")
        if not chips:
            look.miss(Unseen(self._hwmon, "no sensor has a driver here"))
        named = [(_name(chip), chip) for chip in chips]
        names = [name for name, _ in named]
        for name, chip in named:
            unique = name if names.count(name) == 1 else f"{name} {chip.name}"
            _chip(look, chip, unique)
        return look.sample()


def _name(chip: Path) -> str:
    try:
        return text(chip / "name") or chip.name
    except Unseen:
        return chip.name


def _chip(look: Look, chip: Path, name: str) -> None:
    alarms: dict[tuple[Part, str], float] = {}
    for path in folders(chip):
        sensor = INPUT.fullmatch(path.name)
        try:
            if sensor and sensor[1] == "temp":
                _temperature(look, chip, sensor[2], name)
            elif sensor:
                look.see(_fan(chip, sensor[2], name), "rpm", number(path), path)
            elif found := ALARM.fullmatch(path.name):
                key = _alarmed(chip, found[1], found[2], name)
                raised = number(path) if _has_limits(chip, found[1] + found[2]) else 0.0
                alarms[key] = max(alarms.get(key, 0.0), raised)
        except Unseen as unseen:
            look.miss(unseen)
    for (part, signal), alarm in alarms.items():
        look.see(part, signal, alarm, f"{chip}/*_alarm")


def _fan(chip: Path, index: str, name: str) -> Part:
    return Part(Kind.FAN, f"{name} {_label(chip, 'fan' + index)}", spares="fans")


def _alarmed(chip: Path, what: str, index: str, name: str) -> tuple[Part, str]:
    """A fan's alarm is the fan's; a voltage's is the supply's where the chip is one. Of a board's own voltages, whose
    limits are rarely anybody's choice, it is a warning."""
    if what == "fan":
        return _fan(chip, index, name), "alarm"
    is_supply = name.lower().startswith(POWER_CHIPS)
    return Part(Kind.POWER, name, spares="power" if is_supply else ""), "alarm" if is_supply else "warning"


def _has_limits(chip: Path, sensor: str) -> bool:
    """False where the chip compares with limits that nobody ever set: boards leave both of many inputs at 0, and their
    alarms are raised for good (as `sensors` shows them for the nct67xx)."""
    try:
        least, most = (
            number(path) if path.exists() else None
            for path in (chip / f"{sensor}_min", chip / f"{sensor}_max")
        )
        if least is not None and most is not None:
            return least < most
        return not (sensor.startswith("fan") and least == 0 and number(chip / f"{sensor}_input") == 0)
    except Unseen:
        return True


def _temperature(look: Look, chip: Path, index: str, name: str) -> None:
    path = chip / f"temp{index}_input"
    celsius = number(path) / 1_000
    if not COLDEST_C <= celsius <= HOTTEST_C:
        raise Unseen(path, f"it shows {celsius:g} degrees Celsius, which cannot be")
    part = Part(Kind.TEMPERATURE, f"{name} {_label(chip, 'temp' + index)}")
    look.see(part, "celsius", celsius, path)
    for key, signal in (("max", "share_of_max"), ("crit", "share_of_critical")):
        limit_path = chip / f"temp{index}_{key}"
        limit = number(limit_path) / 1_000 if limit_path.exists() else 0.0
        if 0 < limit <= HOTTEST_C:  # Chips without one show 0, or a number that nobody set.
            look.see(part, signal, celsius / limit, path)
    look.file(part, "critical_alarm", chip / f"temp{index}_crit_alarm")


def _label(chip: Path, sensor: str) -> str:
    try:
        return text(chip / f"{sensor}_label") or sensor
    except Unseen:
        return sensor
