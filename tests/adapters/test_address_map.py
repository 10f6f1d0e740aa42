"""Where a target's devices are put before their state comes: what is written, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from segue.adapters.qemu import address_map
from segue.adapters.qemu.address_map import COMMAND, ENABLE, FIRST_BAR
from segue.model.landing import Region


@st.composite
def devices(draw: st.DrawFn) -> list[Region]:
    """The regions of one device: each register in use once, a wide one takes two."""
    slot, function, master = draw(st.integers(0, 31)), draw(st.integers(0, 7)), draw(st.booleans())
    found, bar = [], 0
    while bar < address_map.BARS:
        wide = bar < address_map.BARS - 1 and draw(st.booleans())
        if draw(st.booleans()):
            address = draw(st.integers(1, (1 << (64 if wide else 32)) - 1)) & ~0xF or 0x10
            found.append(Region(slot, function, bar, address, not wide and draw(st.booleans()), wide, master))
        bar += 2 if wide else 1
    return found


machines = st.lists(
    devices(), max_size=6, unique_by=lambda one: (one[0].slot, one[0].function) if one else ()
)


@given(machines)
def test_all_regions_get_their_place_before_any_device_is_opened(machine: list[list[Region]]) -> None:
    regions = [region for device in machine for region in device]
    registers: dict[int, int] = {}
    for place, value in address_map.writes(regions):
        assert place & ENABLE
        assert 0 <= value < 1 << 32
        register = place & 0xFF
        opens = register == COMMAND
        assert opens or FIRST_BAR <= register < FIRST_BAR + 4 * address_map.BARS
        assert opens or not any(known & 0xFF == COMMAND for known in registers)
        registers[place] = value
    for region in regions:
        device = ENABLE | region.slot << 11 | region.function << 8
        low = registers.pop(device | FIRST_BAR + 4 * region.bar)
        high = registers.pop(device | FIRST_BAR + 4 * region.bar + 4) if region.is_wide else 0
        assert high << 32 | low == region.address
        command = registers[device | COMMAND]
        assert command & (1 if region.is_io else 2)
        assert bool(command & 4) is region.is_master
    assert all(place & 0xFF == COMMAND for place in registers), "a register was written that nobody asked for"


class Told:
    """A monitor that answers by rote, and remembers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def execute(self, command: str, **arguments: Any) -> Any:
        self.asked.append((command, arguments))
        return self.answers.pop(0) if self.answers else ""


def device(slot: int, *regions: dict[str, Any], vendor: int = 0x1AF4, **more: Any) -> dict[str, Any]:
    return {
        "bus": 0,
        "slot": slot,
        "function": 0,
        "id": {"vendor": vendor, "device": 1},
        "regions": [*regions],
        **more,
    }


MEMORY = {"bar": 4, "type": "memory", "mem_type_64": True, "address": 0x380000000000, "size": 0x4000}
IO = {"bar": 0, "type": "io", "address": 0xC000, "size": 32}


async def test_what_the_guest_has_not_mapped_is_left_alone() -> None:
    closed = {"bar": 1, "type": "memory", "mem_type_64": False, "address": -1, "size": 4096}
    rom = {"bar": 6, "type": "memory", "mem_type_64": False, "address": 0xFEB00000, "size": 4096}
    behind = {"bus": 1, "devices": [device(0, IO)]}
    bridge = device(3, IO, pci_bridge={"bus": {}})
    first = {"bus": 0, "devices": [device(1, MEMORY, closed, rom), device(2, IO, vendor=0x8086), bridge]}
    found = await address_map.read(Told([first, behind]))  # type: ignore[arg-type]
    assert found == (
        Region(1, 0, 4, 0x380000000000, is_wide=True, is_master=True),
        Region(2, 0, 0, 0xC000, is_io=True),
    )


async def test_a_qemu_that_does_not_take_it_is_left_in_peace() -> None:
    told = Told("", "unknown command: 'o'\r\n")
    await address_map.set_out(told, [Region(1, 0, 0, 0xC000, is_io=True)])  # type: ignore[arg-type]
    assert len(told.asked) == 4, "a place and a command, each by way of the address port"
    assert told.asked[0] == ("human-monitor-command", {"command_line": "o /4 0xcf8 0x80000810"})
