"""Memory by EDAC: corrected and uncorrected errors of each DIMM, and pages that the kernel gave up. Judges nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Roots, Unseen, folders, text
from segue.model.health import Kind, Part, Sample

EMPTY_LABELS: Final = frozenset({"", "unknown", "unknown memory"})


class Memory:
    """Port `Probe`."""

    name = "memory"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._edac = roots.sysfs / "devices" / "system" / "edac" / "mc"
        self._meminfo = roots.proc / "meminfo"

    def look(self) -> Sample:
        """What the kernel has counted since the boot."""
        look = Look(self.name)
        controllers = folders(self._edac, "mc[0-9]*")
        if not controllers:
            look.miss(
                Unseen(
                    self._edac, "no memory controller reports errors: no ECC, or its EDAC driver is missing"
                )
            )
        names: set[str] = set()
        for controller in controllers:
            for name, corrected, uncorrected in _modules(controller):
                unique = name if name not in names else f"{name} ({controller.name})"
                names.add(unique)
                part = Part(Kind.MEMORY, unique)
                look.file(part, "corrected", corrected)
                look.file(part, "uncorrected", uncorrected)
            part = Part(Kind.MEMORY, controller.name)
            look.file(part, "corrected", controller / "ce_noinfo_count")
            look.file(part, "uncorrected", controller / "ue_noinfo_count")
        self._given_up(look)
        return look.sample()

    def _given_up(self, look: Look) -> None:
        try:
            for line in text(self._meminfo).splitlines():
                key, _, rest = line.partition(":")
                if key == "HardwareCorrupted":
                    part = Part(Kind.MEMORY, "pages")
                    look.see(part, "poisoned_bytes", int(rest.split()[0]) * 1024, self._meminfo)
        except Unseen as unseen:
            look.miss(unseen)
        except (ValueError, IndexError):
            look.miss(Unseen(self._meminfo, "HardwareCorrupted is not a number"))


def _modules(controller: Path) -> Iterator[tuple[str, Path, Path]]:
    """(name, corrected, uncorrected) of each DIMM or rank; of the channels of a row where the driver is an old one."""
    found = [*folders(controller, "dimm[0-9]*"), *folders(controller, "rank[0-9]*")]
    for module in found:
        name = _label(module / "dimm_label") or f"{controller.name} {module.name}"
        yield name, module / "dimm_ce_count", module / "dimm_ue_count"
    if found:
        return
    for row in folders(controller, "csrow[0-9]*"):
        for count in folders(row, "ch[0-9]*_ce_count"):
            channel = count.name.removesuffix("_ce_count")
            name = _label(row / f"{channel}_dimm_label") or f"{controller.name} {row.name} {channel}"
            yield name, count, row / f"{channel}_ue_count"


def _label(path: Path) -> str:
    try:
        found = text(path)
    except Unseen:
        return ""
    return "" if found.lower() in EMPTY_LABELS else found
