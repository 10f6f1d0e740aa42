"""The lab that a group of cells is measured in, and everybody who takes part: made anew for each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from statistics import median
from types import TracebackType
from typing import Final

import msgspec

from bench import client, disk, plain, virt
from bench.cells import Cell
from bench.floor import Floor
from bench.moves import Peer
from bench.ours import FIRM, OFF, POST_COPY, OurGuest, Ours
from bench.report import WITHOUT_TLS
from segue.lab.api import Lab
from segue.model.guest import Guest

HOSTS: Final = ("host1", "host2")
ADDRESSES: Final = {"segue": "10.77.100.1", "plain": "10.77.100.2", "virt": "10.77.100.3"}
MACS: Final = {"plain": "52:54:00:be:c4:02", "virt": "52:54:00:be:c4:03"}
UUIDS: Final = {
    "plain": "9d3c2f4e-5a10-4d5b-8c11-7a4e5e6b2d01",
    "virt": "9d3c2f4e-5a10-4d5b-8c11-7a4e5e6b2d02",
}
PLAIN: Final = (
    plain.Variant("plain HMP defaults", defaults=True),
    plain.Variant("plain 10 ms", 10),
    plain.Variant("plain 1 ms", 1),
    plain.Variant("plain 1 ms multifd", 1, multifd=True),
    plain.Variant("plain safe 1 ms", 1, safe=True),
)
VIRT: Final = (
    virt.Variant("libvirt defaults"),
    virt.Variant("libvirt 10 ms", (), 10),
    virt.Variant("libvirt 10 ms p2p", ("--p2p",), 10),
    virt.Variant("libvirt 10 ms parallel", ("--parallel", "--parallel-connections", "2"), 10),
    virt.Variant("libvirt 10 ms post-copy", ("--postcopy", "--postcopy-after-precopy"), 10),
    virt.Variant("libvirt 10 ms TLS", ("--tls",), 10),
)
LEAN: Final = ("segue", "plain 1 ms", "libvirt 10 ms", "libvirt 10 ms p2p", "floor")
"""Those that the others are measured by; the rest take part where everybody does."""
BUSY: Final = ("segue", FIRM, POST_COPY, "plain 1 ms", "libvirt 10 ms", "libvirt 10 ms post-copy")
"""Where pre-copy alone may never end, libvirt's best is the one that ends."""
ONLY_BUSY: Final = (FIRM, POST_COPY)
BUSY_PERCENT: Final = 90
WITH_DISK: Final = ("segue", "libvirt 10 ms")
WITH_DISK_CAN: Final = ("segue", "libvirt")
"""A plain QEMU has nobody to copy a disk for it."""
FULL_CELLS: Final = ("idle-256m",)
WARMING: Final = "plain 1 ms"


class World:
    """Two hosts, a client, and a guest of each kind. Use it as a context: the lab goes with it."""

    def __init__(self, lab_name: str, cell: Cell, say: Callable[[str], None], *, keep: bool) -> None:
        self.lab = Lab(lab_name, on_progress=say, packages=virt.PACKAGES)
        self._say = say
        self._cell = cell
        self._keep = keep
        self._free_bytes_per_s = 0.0
        self.peers: dict[str, Peer] = {}
        self.our_guest: OurGuest

    def __enter__(self) -> World:
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._keep:
            self.lab.down()

    def _make(self) -> None:
        self.lab.down()
        self.lab.up(hosts=len(HOSTS), clients=1, images=["micro"])
        self.lab.wait_for_agents()
        self._say("starting libvirt and the guests")
        for host in HOSTS:
            virt.start_daemon(self.lab, host)
        ours = self.our_guest = OurGuest(self.lab, ADDRESSES["segue"], self._cell, HOSTS[0])
        model = msgspec.convert(ours.spec, Guest)
        bare = plain.PlainGuest(self.lab, replace(twin(model, "plain"), disks=()), HOSTS[0])
        domain = virt.VirtGuest(self.lab, twin(model, "virt"), HOSTS[0])
        peers: list[Peer] = [
            Ours(ours),
            Ours(ours, WITHOUT_TLS, OFF),
            Ours(ours, FIRM, ladder="firm"),
            Ours(ours, POST_COPY, post_copy_after=1),
            *(plain.Plain(bare, variant) for variant in PLAIN),
        ]
        peers += [*(virt.Virt(domain, variant) for variant in VIRT), Floor(bare)]
        self.peers = {peer.name: peer for peer in peers}
        for address in ADDRESSES.values():
            client.wait_for_guest(self.lab, address)
            client.set_working_set(self.lab, address, self._cell.resident_bytes)
        self._warm_up()

    def _warm_up(self) -> None:
        """Moves that are not counted: caches are filled, and the speed of the free link is seen."""
        self._say("two moves that do not count")
        speeds = []
        peer = self.peers[WARMING]
        for to in (HOSTS[1], HOSTS[0]):
            speeds.append(float(peer.move(to).details["link_bytes_per_s"]))
        self._free_bytes_per_s = median(speeds)

    def set_link(self, cell: Cell) -> None:
        """The speed of both hosts' cables; the client's stays as it is."""
        for host in HOSTS:
            self.lab.set_rate(cell.link_bits_per_s, host)

    def link_bytes_per_s(self, cell: Cell) -> float:
        """What the link carries: its limit, or what a plain QEMU got over it."""
        limit = cell.link_bits_per_s
        return limit / 8 if limit else self._free_bytes_per_s


def chosen(cell: Cell, patterns: str) -> list[str]:
    """The peers of a cell, by name: all that are known, in the order in which they take turns."""
    known = [
        "segue",
        WITHOUT_TLS,
        *ONLY_BUSY,
        *(each.name for each in PLAIN),
        *(each.name for each in VIRT),
        "floor",
    ]
    words: Sequence[str] = LEAN
    if cell.name in FULL_CELLS:
        words = tuple(
            name for name in known if name not in ONLY_BUSY
        )  # They differ where a guest writes too fast alone.
    if cell.dirty_percent >= BUSY_PERCENT:
        words = BUSY
    if cell.disk:
        words = WITH_DISK
    if patterns:
        words = [word.strip() for word in patterns.split(",")]
    # The floor is that of a guest at rest.
    floor = cell.dirty_percent == 0 and not cell.disk
    return [
        name
        for name in known
        if any(fnmatchcase(name, word) for word in words)
        and (floor or name != "floor")
        and (not cell.disk or name.startswith(WITH_DISK_CAN))
    ]


def twin(guest: Guest, kind: str) -> Guest:
    """The same machine with a name, a number, addresses and disks of its own."""
    nic = replace(guest.nics[0], mac=MACS[kind], address=f"{ADDRESSES[kind]}/16")
    disks = tuple(replace(each, path=f"{disk.FOLDER}/{kind}-{each.id}.qcow2") for each in guest.disks)
    return replace(guest, name=f"bench-{kind}", uuid=UUIDS[kind], nics=(nic,), disks=disks)
