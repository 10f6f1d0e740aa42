"""Disks by their own word: smartctl's JSON for ATA, SAS and NVMe. It wakes no sleeping disk, and judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from segue.adapters.health.source import Look, Roots, Unseen, disks, program
from segue.model.health import Kind, Part, Sample

WITHIN_S: Final = 30.0
ATA: Final[Mapping[int, str]] = {
    5: "reallocated",
    187: "uncorrectable",
    188: "timeouts",
    197: "pending",
    198: "offline_uncorrectable",
}
RAW_BITS: Final = 0xFFFF
"""Some drives put other counts into the upper bytes of attribute 188; the low word is the one that counts."""
HEAT_BIT: Final = 0b10
"""Of NVMe's critical warning: too hot now, which is no defect and judged by the temperature."""
HOPELESS_BITS: Final = 0b11
"""smartctl's exit status: bad command line, device cannot be opened (or is asleep)."""


class Smart:
    """Port `Probe`. smartd's own default is a look every half hour."""

    name = "smart"
    every_s = 1_800.0
    heavy = True

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def look(self) -> Sample:
        """What each disk says of itself."""
        look = Look(self.name)
        for name in disks(self._roots):
            device = str(self._roots.dev / name)
            command = [
                self._roots.smartctl,
                "--json=c",
                "--info",
                "--health",
                "--attributes",
                "--nocheck=standby,0",
                device,
            ]
            try:
                read(look, Part(Kind.DISK, name), device, program(command, WITHIN_S))
            except Unseen as unseen:
                look.miss(unseen)
        return look.sample()


def read(look: Look, part: Part, device: str, answer: str) -> None:
    """Adds what one answer of smartctl says. Raises Unseen for one that says nothing."""
    try:
        said = json.loads(answer)
        if int(said["smartctl"]["exit_status"]) & HOPELESS_BITS:
            raise Unseen(device, _message(said))
        before, thing = len(look.readings) + len(look.blind), str(said.get("serial_number", ""))
        passed = said.get("smart_status", {}).get("passed")
        if passed is not None:
            look.see(part, "smart_failed", float(not passed), f"smartctl -H {device}", thing)
        source = f"smartctl -A {device}"
        for signal, value in (*_ata(said).items(), *_nvme(said).items(), *_sas(said).items()):
            look.see(part, signal, float(value), source, thing)
        celsius = said.get("temperature", {}).get("current")
        if celsius is not None:
            look.see(part, "temperature_c", float(celsius), source, thing)
        if len(look.readings) + len(look.blind) == before and not _sleeps(said):
            raise Unseen(device, _message(said))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unseen(device, f"smartctl's answer cannot be read: {error!r}") from error


def _message(said: Mapping[str, Any]) -> str:
    told = [str(one["string"]) for one in said["smartctl"].get("messages", [])]
    return "; ".join(told) or f"smartctl ended with {said['smartctl']['exit_status']}"


def _sleeps(said: Mapping[str, Any]) -> bool:
    """smartctl: "Device is in STANDBY mode, exit(0)"."""
    return any(" mode, exit(" in str(one.get("string")) for one in said["smartctl"].get("messages", []))


def _ata(said: Mapping[str, Any]) -> dict[str, float]:
    rows = said.get("ata_smart_attributes", {}).get("table", [])
    found = {ATA[row["id"]]: row["raw"]["value"] for row in rows if row["id"] in ATA}
    if "timeouts" in found:
        found["timeouts"] &= RAW_BITS
    return found


def _nvme(said: Mapping[str, Any]) -> dict[str, float]:
    log = said.get("nvme_smart_health_information_log", {})
    wanted = {
        "critical_warning": "critical_warning",
        "media_errors": "uncorrectable",
        "percentage_used": "used_percent",
    }
    found = {signal: log[key] for key, signal in wanted.items() if key in log}
    if "critical_warning" in found:
        found["critical_warning"] &= ~HEAT_BIT
    if log.get("available_spare_threshold"):
        found["spare_of_threshold"] = log["available_spare"] / log["available_spare_threshold"]
    return found


def _sas(said: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    if "scsi_grown_defect_list" in said:
        found["reallocated"] = said["scsi_grown_defect_list"]
    log = said.get("scsi_error_counter_log", {})
    if log:
        found["uncorrectable"] = sum(int(row["total_uncorrected_errors"]) for row in log.values())
    if "scsi_percentage_used_endurance_indicator" in said:
        found["used_percent"] = said["scsi_percentage_used_endurance_indicator"]
    return found
