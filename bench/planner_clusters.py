"""Clusters for the planners' benchmark, made from a seed: each as a fleet and as a text that Ganeti's hbal reads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load

MIB: Final = 1 << 20
HOST_MIB: Final = 524_288
OWN_MIB: Final = 4_096
"""What the host keeps for itself."""
CPUS: Final = 64
VCPU_RATIO: Final = 4.0
DISK_MIB: Final = 8_388_608
FULLEST: Final = 0.945
GUEST_MIB: Final = (4_096, 8_192, 12_288, 16_384, 24_576, 32_768, 49_152, 65_536)
OFTEN: Final = (20, 24, 16, 16, 10, 8, 4, 2)
PER_HOST: Final = 15
SKEW: Final = 1.1
"""Hosts are chosen with weights between exp(-SKEW) and exp(SKEW)."""


LOADED_MOST: Final = 100
"""Hosts up to which guests have loads of their own: hbal's time to read them grows with the square of their number."""


def of(hosts: int, seed: int) -> Fleet:
    """The benchmark's cluster of that size."""
    made = loaded(hosts, seed)
    return made if hosts <= LOADED_MOST else without_load(made)


def loaded(hosts: int, seed: int) -> Fleet:
    """The same with a load of its own for each guest, whatever the size."""
    return cluster(hosts, PER_HOST, seed)


def cluster(hosts: int, per_host: int, seed: int) -> Fleet:
    """Like hosts, unlike guests, badly spread: some hosts nearly empty, some nearly full."""
    dice = random.Random(seed)
    weights = [2.718281828 ** dice.uniform(-SKEW, SKEW) for _ in range(hosts)]
    free = [int((HOST_MIB - OWN_MIB) * FULLEST)] * hosts
    vcpus_free = [CPUS * VCPU_RATIO] * hosts
    guests = []
    order = iter(dice.choices(range(hosts), weights, k=hosts * per_host * 20))
    for number in range(hosts * per_host):
        memory = dice.choices(GUEST_MIB, OFTEN)[0]
        vcpus = max(1, min(16, memory // 8_192 * dice.choice((1, 2))))
        host = next(h for h in order if free[h] >= memory and vcpus_free[h] >= vcpus)
        free[host] -= memory
        vcpus_free[host] -= vcpus
        guests.append(_guest(number, memory, vcpus, host, dice))
    return Fleet(tuple(_host(number) for number in range(hosts)), tuple(guests))


def _host(number: int) -> FleetHost:
    return FleetHost(
        name=f"n{number:05}",
        memory_bytes=(HOST_MIB - OWN_MIB) * MIB,
        cpus=CPUS,
        cpu_overcommit=VCPU_RATIO,
        network_bytes_per_s=1.0,
        labels={"rack": f"r{number // 40}"},
    )


def _guest(number: int, memory: int, vcpus: int, host: int, dice: random.Random) -> FleetGuest:
    """Loads are written as hbal has them: shares from 0 to 1, which it adds up."""
    return FleetGuest(
        name=f"i{number:06}",
        needs=Amounts(memory * MIB, vcpus),
        host=f"n{host:05}",
        load=Load(round(dice.random() ** 2, 4), round(dice.random() ** 3, 4)),
    )


def without_load(fleet: Fleet) -> Fleet:
    """As hbal sees guests whose load it was not told: each is 1, in everything."""
    guests = tuple(
        FleetGuest(name=guest.name, needs=guest.needs, host=guest.host, load=Load(1.0, 1.0))
        for guest in fleet.guests
    )
    return Fleet(fleet.hosts, guests)


def is_without_load(fleet: Fleet) -> bool:
    """True for a cluster whose loads hbal is not told."""
    return all(guest.load == Load(1.0, 1.0) for guest in fleet.guests)


def data(fleet: Fleet, where: Mapping[str, str]) -> Iterator[str]:
    """Lines of hbal's text format. where: guest -> host, which may differ from the fleet's."""
    taken: dict[str, int] = {}
    for guest in fleet.guests:
        host = where[guest.name]
        taken[host] = taken.get(host, 0) + guest.needs.memory_bytes // MIB
    yield "g1|uuid-1|preferred||"
    yield ""
    for number, host_ in enumerate(fleet.hosts):
        free = HOST_MIB - OWN_MIB - taken.get(host_.name, 0)
        role = "M" if number == 0 else "N"
        yield (
            f"{host_.name}|{HOST_MIB}|{OWN_MIB}|{free}|{DISK_MIB}|{DISK_MIB}|{CPUS}|{role}|uuid-1|64||N|0|1|1.0"
        )
    yield ""
    for guest in fleet.guests:
        memory, vcpus = guest.needs.memory_bytes // MIB, int(guest.needs.vcpus)
        yield f"{guest.name}|{memory}|0|{vcpus}|running|Y|{where[guest.name]}||ext||1|-|N"
    yield from ("", "")
    limits = f"128,1,1024,1,1,1|128,1,0,1,1,1;{HOST_MIB},{CPUS},{DISK_MIB},16,8,12|ext,plain,drbd|{VCPU_RATIO}|32.0"
    yield f"|{limits}"
    yield f"g1|{limits}"


def loads(fleet: Fleet) -> Iterator[str]:
    """Lines of hbal's file of loads: name, processors, memory, disk, network."""
    for guest in fleet.guests:
        yield f"{guest.name} {guest.load.cpu_cores} 0 0 {guest.load.network_bytes_per_s}"
