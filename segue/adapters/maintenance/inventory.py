"""Reads what a maintenance may change: system, microcode, processor flags, firmware, and whether a reboot is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.adapters.maintenance import outdated

FIRMWARE: Final = ("bios_vendor", "bios_version", "bios_date")
WANTED: Final = "run/reboot-required"
"""Written by Debian's and Ubuntu's packages (update-notifier-common, unattended-upgrades)."""
SHOWN: Final = 10


@dataclass(frozen=True)
class Machine:
    """What is read from files."""

    os: str
    microcode: str
    cpu: str
    cpu_flags: tuple[str, ...]
    firmware: str
    reboot_wanted: str


def read(root: Path = Path("/")) -> Machine:
    """root: where the system's files are; only tests have another one."""
    cpu = _first_cpu(root)
    return Machine(
        os=_os(root),
        microcode=cpu.get("microcode", ""),
        cpu=cpu.get("model name", ""),
        cpu_flags=tuple(sorted(cpu.get("flags", "").split())),
        firmware=" ".join(filter(None, (_text(root / "sys/class/dmi/id" / name) for name in FIRMWARE))),
        reboot_wanted=_wanted(root) or outdated.reboot_wanted(root),
    )


def _first_cpu(root: Path) -> dict[str, str]:
    block = _text(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _os(root: Path) -> str:
    for line in _text(root / "etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            found = value.strip('"')
            release = _text(root / "etc/debian_version")
            return f"{found} ({release})" if release and release not in found else found
    return ""


def _wanted(root: Path) -> str:
    if not (root / WANTED).exists():
        return ""
    packages = sorted(set(_text(root / f"{WANTED}.pkgs").split()))
    more = f" and {len(packages) - SHOWN} more" if len(packages) > SHOWN else ""
    return f"after {', '.join(packages[:SHOWN])}{more}" if packages else "its system says so"


def _text(path: Path) -> str:
    """Empty where the machine has no such file, as one without DMI tables."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
