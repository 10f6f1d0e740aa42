"""Network cards and bonds: carrier, speed, errors, drops. Only those with a device behind them; judges nothing."""

from __future__ import annotations

from pathlib import Path

from segue.adapters.health.source import Look, Roots, Unseen, folders, number, text
from segue.model.health import Kind, Part, Sample


class Nic:
    """Port `Probe`. Cards of one bond are spares of each other."""

    name = "nic"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._net = roots.sysfs / "class" / "net"

    def look(self) -> Sample:
        """What the kernel has counted since the boot, and how the links are."""
        look = Look(self.name)
        links = folders(self._net)
        if not links:
            look.miss(Unseen(self._net, "it has no links"))
        bond_of: dict[str, str] = {}
        for link in links:
            if (link / "bonding").is_dir():
                try:
                    members = text(link / "bonding" / "slaves").split()
                    bond_of |= dict.fromkeys(members, link.name)
                    self._bond(look, link, members)
                except Unseen as unseen:
                    look.miss(unseen)
        for link in links:
            if (link / "device").exists() and not (link / "device" / "physfn").exists():
                # A virtual function comes and goes with the guest that it is given to.
                _card(look, link, Part(Kind.NIC, link.name, spares=bond_of.get(link.name, "")))
        return look.sample()

    def _bond(self, look: Look, bond: Path, members: list[str]) -> None:
        up = [member for member in members if _up(self._net / member)]
        look.see(Part(Kind.NIC, bond.name), "members_up", len(up), bond / "bonding" / "slaves")


def _up(link: Path) -> bool:
    """What the bond itself thinks of its member; the kernel has it below the member."""
    try:
        return text(link / "bonding_slave" / "mii_status") == "up"
    except Unseen:
        return _carrier(link) == 1


def _carrier(link: Path) -> float:
    """0 also for a link that is switched off, of which the kernel refuses to say it."""
    try:
        return number(link / "carrier")
    except Unseen as unseen:
        if isinstance(unseen.__cause__, OSError) and (link / "carrier").exists():
            return 0.0
        raise


def _card(look: Look, link: Path, part: Part) -> None:
    try:
        look.see(part, "carrier", _carrier(link), link / "carrier")
    except Unseen as unseen:
        look.miss(unseen)
    look.file(part, "carrier_changes", link / "carrier_changes")
    try:
        speed = number(link / "speed")
        if speed > 0:
            look.see(part, "speed_mbit", speed, link / "speed")
    except Unseen as unseen:
        if not isinstance(unseen.__cause__, OSError):  # A card that is down has no speed.
            look.miss(unseen)
    try:
        _counters(look, link / "statistics", part)
    except Unseen as unseen:
        look.miss(unseen)


def _counters(look: Look, folder: Path, part: Part) -> None:
    """Names: kernel, Documentation/networking/statistics.rst. Frames dropped for want of a reader are not errors."""
    arrived = number(folder / "rx_packets")
    look.see(part, "packets_in", arrived, folder)
    look.see(part, "packets", arrived + number(folder / "tx_packets"), folder)
    look.see(part, "errors", number(folder / "rx_errors") + number(folder / "tx_errors"), folder)
    look.see(part, "drops", number(folder / "rx_missed_errors") + number(folder / "tx_dropped"), folder)
    look.file(part, "crc_errors", folder / "rx_crc_errors")
