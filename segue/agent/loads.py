"""Measures what this host and its guests use, often enough to follow it and seldom enough not to count itself.

It must not hold up anything: the loop is given back after each guest, and what may hang is looked at in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from segue.adapters import clock, counters, system
from segue.adapters.counters import Counters, Traffic
from segue.adapters.net.steering import tap_name
from segue.adapters.oci.places import CGROUP, CGROUPS
from segue.agent.config import Config
from segue.model.guest import Guest
from segue.model.load import GuestLoad, HostLoad, Meter, Smoothed
from segue.policy import smoothing

log = structlog.get_logger()
SAMPLE_S: Final = 5.0
FOLDERS_S: Final = 30.0
"""Folders and held memory change slowly, and cost more."""
HUNG_S: Final = 3 * FOLDERS_S
"""A storage that has not answered for so long is not seen."""


class Residents(Protocol):
    """Who runs here."""

    def running(self) -> list[tuple[Guest, int]]:
        """Guests, each with its QEMU's or container's first process."""
        ...


@dataclass
class _Known:
    """What is known of one guest's process."""

    pid: int
    meter: Meter
    at_s: float
    use: Smoothed
    held_bytes: int = 0
    held_s: float = 0.0


@dataclass(frozen=True)
class _Folders:
    at_s: float = float("-inf")
    local_free_bytes: int = 0
    storages: tuple[str, ...] = ()
    local_bytes: Mapping[str, int] | None = None
    """uuid -> what its disks take."""


class Loads:
    """The host's load as it was sampled last."""

    def __init__(self, config: Config, guests: Residents, counters_: Counters | None = None) -> None:
        self._config = config
        self._guests = guests
        self._counters = counters_ or Counters()
        device = counters.device_of(config.address)
        self._uplinks = self._counters.uplinks(device) if device else ()
        self._link_bytes_per_s = self._link_speed()
        self._known: dict[str, _Known] = {}
        self._host: tuple[Meter, float] | None = None
        self._host_use = Smoothed()
        self._folders = _Folders()
        self._begun_s = clock.steady_s()

    async def keep(self) -> None:
        """For as long as the agent lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again(self.sample, SAMPLE_S))
            group.create_task(_again(self.look_at_folders, FOLDERS_S))

    async def sample(self) -> None:
        """Reads everything once."""
        traffic = self._counters.traffic()
        self._sample_host(traffic)
        running = {guest.uuid: (guest, pid) for guest, pid in self._guests.running()}
        for guest, pid in running.values():
            self._sample_guest(guest, pid, traffic)
            await asyncio.sleep(0)  # A blackout may be under way.
        self._known = {uuid: known for uuid, known in self._known.items() if uuid in running}
        self._counters.forget(known.pid for known in self._known.values())

    def report(self) -> HostLoad | None:
        """What is told; None before all was looked at once. Nothing is read here but the pressure and the memory."""
        now_s = clock.steady_s()
        fresh = now_s - self._folders.at_s < HUNG_S
        if not fresh and now_s - self._begun_s < HUNG_S:
            return None
        total, available = self._counters.memory()
        return HostLoad(
            name=self._config.name,
            cpus=system.cpus(),
            use=self._host_use,
            memory_total_bytes=total,
            memory_available_bytes=available,
            pressure=self._counters.pressure(),
            link_bytes_per_s=self._link_bytes_per_s,
            local_free_bytes=self._folders.local_free_bytes,
            storages=self._folders.storages if fresh else (),
            guests=tuple(self._guest(guest) for guest, _ in self._guests.running()),
        )

    def _guest(self, guest: Guest) -> GuestLoad:
        known = self._known.get(guest.uuid)
        local = (self._folders.local_bytes or {}).get(guest.uuid, 0)
        shared = str(self._config.shared_dir)
        needs = (shared,) if any(Path(disk.path).is_relative_to(shared) for disk in guest.disks) else ()
        use, held = (known.use, known.held_bytes) if known else (Smoothed(), 0)
        return GuestLoad(guest.uuid, guest.name, use, held, local, needs)

    def _sample_host(self, traffic: Mapping[str, Traffic]) -> None:
        now_s, meter = clock.steady_s(), self._counters.host(traffic, self._uplinks)
        if self._host is not None:
            before, at_s = self._host
            sample = smoothing.use(before, meter, now_s - at_s)
            self._host_use = smoothing.smooth(self._host_use, sample, now_s - at_s)
        self._host = meter, now_s

    def _sample_guest(self, guest: Guest, pid: int, traffic: Mapping[str, Traffic]) -> None:
        taps = [tap_name(guest.name, nic) for nic in guest.nics]
        try:
            meter = (
                self._counters.group(_cgroup(guest), traffic, taps)
                if guest.is_app
                else self._counters.guest(pid, traffic, taps)
            )
            now_s, known = clock.steady_s(), self._known.get(guest.uuid)
            if known is None or known.pid != pid:
                self._known[guest.uuid] = _Known(pid, meter, now_s, known.use if known else Smoothed())
                return
            over_s = now_s - known.at_s
            sample = smoothing.use(known.meter, meter, over_s)
            known.use, known.meter, known.at_s = smoothing.smooth(known.use, sample, over_s), meter, now_s
            if now_s - known.held_s >= FOLDERS_S:
                known.held_bytes, known.held_s = self._held_bytes(guest, pid), now_s
        except OSError:
            return  # It ended just now; its keeper sees that.

    def _held_bytes(self, guest: Guest, pid: int) -> int:
        if guest.is_app:
            return self._counters.group_held_bytes(_cgroup(guest))
        return self._counters.held_bytes(pid)

    def _link_speed(self) -> int:
        """What the card can do, or what the operator lets migrations use of it."""
        speed, most = (
            self._counters.speed_bytes_per_s(self._uplinks),
            self._config.migration_bandwidth_bytes_per_s,
        )
        return min(speed, most) if speed and most else speed or most

    async def look_at_folders(self) -> None:
        """Once, in a thread: a storage that is away may hold it for ever."""
        guests = [guest for guest, _ in self._guests.running()]
        found = await asyncio.to_thread(_folders, self._config, guests)
        self._folders = replace(found, at_s=clock.steady_s())


async def _again(look: Callable[[], Awaitable[None]], every_s: float) -> None:
    """A file that cannot be read costs a sample, never the agent."""
    while True:
        try:
            await look()
        except (OSError, ValueError, KeyError, IndexError) as error:
            log.warning("the load was not measured", why=repr(error))
        await asyncio.sleep(every_s)


def _cgroup(guest: Guest) -> Path:
    """Where all processes of an application are counted, whoever started them."""
    return CGROUPS / CGROUP / guest.name


def _folders(config: Config, guests: list[Guest]) -> _Folders:
    local = {guest.uuid: _local_bytes(guest, config.disks_dir) for guest in guests}
    free = system.free_bytes(config.disks_dir) if config.disks_dir.is_dir() else 0
    storages = (str(config.shared_dir),) if config.shared_dir.is_dir() else ()
    return _Folders(0.0, free, storages, local)


def _local_bytes(guest: Guest, folder: Path) -> int:
    total = 0
    for disk in guest.disks:
        if Path(disk.path).is_relative_to(folder):
            try:
                total += Path(disk.path).stat().st_blocks * 512
            except OSError:
                continue  # It is just being made or deleted.
    return total
