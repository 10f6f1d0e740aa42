"""Puts the devices of an empty QEMU where the guest has them on its source, before anything of the guest arrives.

To load a PCI device's state is mostly to map its regions: QEMU renders all its address spaces again for each, while the
guest stands (our lab: 9 ms for a guest with three virtio devices, of which 4 ms are left where nothing has to be
mapped any more). So they are mapped in the preparation, as a firmware would: by writes to configuration space through
the ports of the PCI Local Bus Specification 3.0, 3.2.2.3.2. A guest that moves a region meanwhile is right all the
same: what is loaded counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog

from segue.adapters.qemu.monitor import Monitor
from segue.model.landing import Region

log = structlog.get_logger()

ADDRESS_PORT: Final = 0xCF8
DATA_PORT: Final = 0xCFC
ENABLE: Final = 1 << 31
COMMAND: Final = 0x04
COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER = 1, 2, 4
FIRST_BAR: Final = 0x10
BARS: Final = 6
"""A seventh is the expansion ROM, which none of our devices has."""
VIRTIO_VENDOR: Final = 0x1AF4


async def read(monitor: Monitor) -> tuple[Region, ...]:
    """Where the guest has its devices' regions now; those that it has not mapped are left out."""
    buses = await monitor.execute("query-pci")
    devices = [device for bus in buses if bus["bus"] == 0 for device in bus["devices"]]
    return tuple(region for device in devices if "pci_bridge" not in device for region in _regions(device))


def _regions(device: dict[str, Any]) -> Iterator[Region]:
    for region in device["regions"]:
        if region["bar"] < BARS and region["address"] > 0:
            yield Region(
                slot=device["slot"],
                function=device["function"],
                bar=region["bar"],
                address=region["address"],
                is_io=region["type"] == "io",
                is_wide=bool(region.get("mem_type_64")),
                is_master=device["id"]["vendor"] == VIRTIO_VENDOR,
            )


async def set_out(monitor: Monitor, regions: Sequence[Region]) -> None:
    """Maps them in a QEMU that waits for its guest. Safe to repeat; a QEMU that does not do it loads them later."""
    # QMP has no command of its own for a write to a port. QEMU carries out in order what it is sent at once.
    lines = [
        f"o /4 {port:#x} {word:#x}"
        for address, value in writes(regions)
        for port, word in ((ADDRESS_PORT, address), (DATA_PORT, value))
    ]
    asked = (monitor.execute("human-monitor-command", command_line=line) for line in lines)
    if said := next(filter(None, await asyncio.gather(*asked)), ""):
        log.warning("devices are mapped with their state only", why=str(said).strip())


def writes(regions: Sequence[Region]) -> Iterator[tuple[int, int]]:
    """(what goes to the address port, what to the data port): all places first, then what opens them."""
    for region in regions:
        register = FIRST_BAR + 4 * region.bar
        yield _place(region, register), region.address & 0xFFFFFFFF
        if region.is_wide:
            yield _place(region, register + 4), region.address >> 32
    yield from _commands(regions).items()


def _commands(regions: Sequence[Region]) -> dict[int, int]:
    commands: dict[int, int] = {}
    for region in regions:
        place = _place(region, COMMAND)
        space = COMMAND_IO if region.is_io else COMMAND_MEMORY
        commands[place] = commands.get(place, 0) | space | (COMMAND_MASTER if region.is_master else 0)
    return commands


def _place(region: Region, register: int) -> int:
    return ENABLE | (region.slot << 3 | region.function) << 8 | register
