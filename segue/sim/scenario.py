"""What a rehearsal is given: hosts, guests, what people want, what goes wrong. Read from YAML, or drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum

from segue.model.crash import Deed, OnCrash
from segue.model.fleet import Fleet
from segue.model.maintenance import Order
from segue.policy import lease
from segue.sim import faults
from segue.sim.faults import Fault, FaultKind

GIB = 1 << 30
MIB = 1 << 20
PATIENCE_S = 120.0
"""A maintenance that waits longer for room is taken back."""
LOADS_SHARE = 0.3
"""So many fleets with controllers are levelled."""
LOADED_CPUS = 4
CRASHES_SHARE = 0.3
"""In so many fleets with controllers some guests are to be started elsewhere after a crash."""
ELSEWHERE = OnCrash(qemu=Deed.ELSEWHERE, unmovable=Deed.ELSEWHERE)
LEASES_SHARE = 0.4
LEASE_S = 8.0
BMC_SHARE = 0.4
"""So many of the hosts with leases have a BMC, too."""


class Balance(StrEnum):
    """What somebody wants of the balancer."""

    AUTO = "auto"
    """That it levels the load by itself from now on."""
    APPLY = "apply"
    """That it does so once, now."""


@dataclass(frozen=True)
class HostPlan:
    """One host."""

    name: str
    memory_bytes: int = 16 * GIB
    cpus: int = 16
    link_bytes_per_s: float = 125e6
    labels: dict[str, str] = field(default_factory=dict)
    has_bmc: bool = True
    lease_s: float = 0.0
    """Guests run there by a lease of so long; 0: by none."""


@dataclass(frozen=True)
class GuestPlan:
    """One guest that runs when the rehearsal begins."""

    name: str
    host: str
    memory_bytes: int = GIB
    vcpus: int = 1
    dirty_bytes_per_s: float = 5e6
    working_set_bytes: int = 64 * MIB
    cpu_cores: float = 0.0
    tide_s: float = 0.0
    on_crash: OnCrash = field(default_factory=OnCrash)


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for at that second. `drain`, `maintain`: hosts; else `guest` is moved."""

    at_s: float
    guest: str = ""
    to: str = ""
    drain: tuple[str, ...] = ()
    maintain: tuple[str, ...] = ()
    """Hosts that are drained, changed and rebooted, one after another."""
    order: Order | None = None
    """A maintenance as somebody wrote it."""
    balance: Balance | None = None
    cancel_s: float = 0.0
    """It is taken back so much later; 0: it is not."""
    parallel: int = 2
    by_task: bool = False
    """A controller is asked to move the guest, not its host."""
    limits: dict[str, float] = field(default_factory=lambda: {"deadline_s": 90.0})


@dataclass(frozen=True)
class Scenario:
    """One rehearsal. Faults end at `calm_s`; then everything has `settle_s` to come to rest."""

    name: str
    seed: str
    hosts: tuple[HostPlan, ...]
    guests: tuple[GuestPlan, ...]
    wanted: tuple[Wanted, ...] = ()
    faults: tuple[Fault, ...] = ()
    controllers: int = 0
    fleet: Fleet | None = None
    """A real one, whose rules, taints and wishes are in the store from the beginning."""
    evacuate: int = 1
    """So many failing hosts the controllers empty at once by themselves."""
    calm_s: float = 60.0
    settle_s: float = 4200.0
    """Longer than the deadline of a move for which nobody gave another, as of an evacuation."""


def drawn(seed: int) -> Scenario:
    """A small fleet, some wishes, some faults: the same for the same seed, on every machine."""
    chance = random.Random(f"scenario/{seed}")
    hosts = tuple(
        HostPlan(f"host{n + 1}", memory_bytes=chance.choice([4, 6, 8]) * GIB)
        for n in range(chance.randint(2, 4))
    )
    names = [host.name for host in hosts]
    room = {host.name: host.memory_bytes for host in hosts}
    guests = []
    for number in range(chance.randint(1, 5)):
        name, size = chance.choice(names), chance.choice([256, 512, 1024, 2048]) * MIB
        if size <= room[name]:
            room[name] -= size
            load = chance.choice([0.0, 5e6, 60e6, 200e6])
            guests.append(GuestPlan(f"g{number + 1}", name, size, dirty_bytes_per_s=load))
    controllers = chance.choice([0, 1, 2, 2])
    wanted = _drawn_wishes(chance, names, guests, drains=controllers > 0)
    until_s = 45.0
    rulers = [f"c{n + 1}" for n in range(controllers)]
    struck = faults.draw(chance, names, rulers, 8, until_s)
    more = random.Random(f"leases/{seed}")  # Its own, so that what else is drawn stays as it was.
    if controllers and len(hosts) >= lease.VOTERS_LEAST and more.random() < LEASES_SHARE:
        hosts = tuple(replace(host, lease_s=LEASE_S, has_bmc=more.random() < BMC_SHARE) for host in hosts)
        long = faults.draw(more, names, rulers, 3, 20.0, faults.OF_LEASES)  # So long that a lease is over.
        struck += [replace(fault, for_s=more.choice([2.0, 10.0, 30.0, 50.0])) for fault in long]
    if controllers and guests:
        guests, crashes = _drawn_crashes(random.Random(f"crashes/{seed}"), guests, names, until_s)
        struck += crashes
    uses = random.Random(f"loads/{seed}")
    if controllers and uses.random() < LOADS_SHARE:
        hosts = tuple(replace(host, cpus=LOADED_CPUS) for host in hosts)
        guests = [
            replace(guest, cpu_cores=uses.choice([0.2, 1.0, 2.0, 3.0]), tide_s=uses.choice([0.0, 20.0, 35.0]))
            for guest in guests
        ]
        wanted += [Wanted(uses.uniform(3.0, 12.0), balance=Balance.AUTO)] if uses.random() < 0.7 else []
        wanted += [Wanted(uses.uniform(12.0, 45.0), balance=Balance.APPLY) for _ in range(uses.randint(0, 2))]
    return Scenario(
        f"seed {seed}",
        str(seed),
        hosts,
        tuple(guests),
        tuple(wanted),
        tuple(sorted(struck, key=lambda fault: fault.at_s)),
        controllers,
        calm_s=60.0,
    )


def _drawn_crashes(
    chance: random.Random, guests: list[GuestPlan], hosts: list[str], until_s: float
) -> tuple[list[GuestPlan], list[Fault]]:
    """In some fleets guests that a crash sends elsewhere, and more crashes."""
    if chance.random() >= CRASHES_SHARE:
        return guests, []
    chosen = [replace(guest, on_crash=ELSEWHERE) if chance.random() < 0.7 else guest for guest in guests]
    crashes = []
    for _ in range(chance.randint(1, 3)):
        at_s, where = chance.uniform(5.0, until_s), chance.choice(hosts)
        crashes.append(Fault(at_s, FaultKind.KILL_QEMU, where, amount=chance.random()))
    return chosen, crashes


def _drawn_wishes(
    chance: random.Random, hosts: list[str], guests: list[GuestPlan], *, drains: bool
) -> list[Wanted]:
    wanted = []
    for guest in guests:
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            cancel_s = chance.uniform(0.1, 8.0) if chance.random() < 0.15 else 0.0
            at_s, to = chance.uniform(3.0, 40.0), chance.choice(hosts)
            by_task = drains and chance.random() < 0.5
            wanted.append(Wanted(at_s, guest.name, to, cancel_s=cancel_s, by_task=by_task))
    if drains and chance.random() < 0.8:
        cancel_s = chance.uniform(1.0, 20.0) if chance.random() < 0.2 else 0.0
        wanted.append(Wanted(chance.uniform(3.0, 15.0), drain=(chance.choice(hosts),), cancel_s=cancel_s))
    if drains and chance.random() < 0.25:
        cancel_s = chance.uniform(5.0, 40.0) if chance.random() < 0.2 else PATIENCE_S
        chosen = tuple(chance.sample(hosts, chance.randint(1, 2)))
        wanted.append(Wanted(chance.uniform(3.0, 25.0), maintain=chosen, cancel_s=cancel_s))
    return sorted(wanted, key=lambda wish: wish.at_s)


def of_fleet(fleet: Fleet, drain: tuple[str, ...], seed: str, order: Order | None = None) -> Scenario:
    """A copy of a real fleet's state, and its maintenance of tonight; nothing goes wrong."""
    hosts = tuple(
        HostPlan(
            host.name, host.memory_bytes, max(1, int(host.cpus)), host.link_bytes_per_s, dict(host.labels)
        )
        for host in fleet.hosts
    )
    guests = tuple(
        GuestPlan(
            guest.name,
            guest.host,
            guest.needs.memory_bytes,
            max(1, int(guest.needs.vcpus)),
            guest.dirty_bytes_per_s,
            guest.working_set_bytes or guest.needs.memory_bytes,
            guest.load.cpu_cores,
        )
        for guest in fleet.guests
        if guest.host
    )
    wanted = Wanted(5.0, order=order) if order else Wanted(5.0, drain=drain, parallel=4)
    return Scenario(
        "fleet", seed, hosts, guests, (wanted,), (), 1, fleet, evacuate=0, calm_s=5.0, settle_s=86400.0
    )
