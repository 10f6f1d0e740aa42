"""Watches the promises from outside: what is so on the hosts and in their journals, never what an agent says of itself.

Some hold at every instant, the others once faults have ended and everything had time to settle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from segue.model.handoff import Phase, Token

if TYPE_CHECKING:
    from segue.sim.host import SimHost
    from segue.sim.qemu import Qemu
    from segue.sim.world import World

TWO: Final = "never two runnable copies"
STALE: Final = "never an old copy"
NONE: Final = "never without an owner"
FULL: Final = "no host over capacity"
LEFT: Final = "no leftover"
DRAIN: Final = "every drain ends or says why"
AGENT: Final = "no program ends by itself"
FENCED: Final = "no host is switched off that the others see"
UPKEEP: Final = "a maintenance ends or says why, and takes no guest with it"
ALARM: Final = "a false alarm costs no more than is allowed"
LEASE: Final = "no guest is ended while its host sees most of the others"
BACK: Final = "guests of a dead host come back or it is said why, and nothing else waits for it"
LEVEL: Final = (
    "the balancer carries out one plan at a time, leaves room to drains, and sends nobody back and forth"
)
CRASH: Final = (
    "a guest that crashed in calm comes back by itself, elsewhere where that is wanted and a host takes it"
)
SETTLED: Final = frozenset({Phase.ABSENT, Phase.OWNER})
SEEN_S: Final = 15.0
"""After a network that was broken everybody sees everybody again within this time."""


@dataclass
class Checkers:
    """Told by simulated QEMUs at once; asked for the rest at the end."""

    world: World
    stood: dict[str, float] = field(default_factory=dict)

    # At every instant

    def resumed(self, qemu: Qemu) -> None:
        """Just before its vCPUs run."""
        guest, world = qemu.guest, self.world
        for host in world.hosts.values():
            other = host.qemus.get(guest.uuid)
            if other is not None and other is not qemu and other.running:
                world.broken(TWO, f"{guest.name} runs on {host.name} and is let run on {qemu.host.name}")
        if qemu.content != world.latest.get(guest.uuid, qemu.content) or not qemu.complete:
            world.broken(STALE, f"{guest.name} ran on after the copy on {qemu.host.name} was made")
        since_s = self.stood.pop(guest.name, None)
        if since_s is not None:
            stood_s = world.loop.time() - since_s
            world.blackouts_s[guest.name] = max(stood_s, world.blackouts_s.get(guest.name, 0.0))

    def stopped(self, qemu: Qemu) -> None:
        """Its vCPUs stand now."""
        self.stood[qemu.guest.name] = self.world.loop.time()

    def boots(self, qemu: Qemu) -> None:
        """It is started from disk: whatever was in its memory is given up."""
        uuid, latest = qemu.guest.uuid, self.world.latest.get(qemu.guest.uuid)
        unknown = uuid in self.world.may_have_run
        for host in self.world.hosts.values() if not unknown else ():
            other, token = host.qemus.get(uuid), host.journal.token(uuid)
            if (token.phase, token.peer) == (Phase.RELEASED, qemu.host.name):
                continue  # Given to this host for good: only that one could say that it never ran.
            if other is not None and other.complete and other.content == latest and host.powered:
                self.world.broken(NONE, f"{qemu.guest.name} is started anew, and is whole on {host.name}")
        self.world.latest[uuid] = qemu.content
        self.world.killed.discard(uuid)
        self.world.may_have_run.discard(uuid)
        self.stood.pop(qemu.guest.name, None)

    def placed(self, host: SimHost) -> None:
        """One more QEMU is there."""
        used = sum(qemu.guest.memory_bytes for qemu in host.qemus.values())
        if used > host.memory_bytes:
            self.world.broken(FULL, f"{host.name}: {used >> 20} of {host.memory_bytes >> 20} MiB")

    def fenced(self, host: SimHost) -> None:
        """Its BMC is told to take its power away."""
        whole_s = self.world.fabric.whole_s(host.name)
        if host.powered and whole_s > SEEN_S and not self.world.is_proved(host.name):
            self.world.broken(FENCED, f"{host.name} lives, and has been in sight for {whole_s:.0f} s")

    def ended_by_lease(self, qemu: Qemu) -> None:
        """Its host's guard kills it."""
        host, patience_s = qemu.host, qemu.host.lease_s + SEEN_S
        well = [one for one in self.world.hosts.values() if one.well_s() > patience_s]
        self.world.say(host.name, f"the lease is over: {qemu.guest.name} is ended")
        if host in well and 2 * len(well) > len(self.world.hosts) and not self.world.is_proved(host.name):
            self.world.broken(LEASE, f"{qemu.guest.name} on {host.name}, which sees {len(well) - 1} others")

    def reboots(self, host: SimHost) -> None:
        """A maintenance reboots it now."""
        for qemu in host.qemus.values():
            if qemu.running or qemu.complete:
                self.world.broken(UPKEEP, f"{host.name} reboots, and {qemu.guest.name} is there")

    # Once quiet

    def unsettled(self) -> list[str]:
        """What is still under way; nothing, once all is quiet."""
        living = [host for host in self.world.hosts.values() if not host.is_dead]
        found = [why for host in living for why in self._of_host(host)]
        for uuid, name in self.guests().items():
            # One that was cut off has not yet heard who took its guest over.
            owners = [host.name for host in living if _owns(host, uuid)]
            if len(owners) > 1:
                found.append(f"{name} is owned by {', '.join(owners)}")
        return found

    def unowned(self) -> dict[str, str]:
        """uuid -> name of guests that no host with power owns."""
        living = [host for host in self.world.hosts.values() if host.powered]
        return {
            uuid: name
            for uuid, name in self.guests().items()
            if not any(_owns(host, uuid) for host in living)
        }

    def _of_host(self, host: SimHost) -> Iterator[str]:
        if host.agent is None or not host.agent_lives:
            yield f"{host.name}: its agent does not serve"
            return
        for migration in host.journal.migrations():
            if not migration.ended and not self._is_dead(migration.target):
                yield f"{host.name}: {migration.guest} to {migration.target} is in {migration.stage}"
        for uuid, token in tokens(host).items():
            waits = token.phase not in SETTLED or (token.phase is Phase.OWNER and token.peer)
            if waits and not self._is_dead(token.peer):
                yield f"{host.name}: {self._name(uuid)} is {token.phase} for {token.peer}"
        if any(other.is_dead for other in self.world.hosts.values()):
            return  # What is left of a move from it or to it waits for it, or for the word of somebody.
        for qemu in host.qemus.values():
            if not qemu.running:
                yield f"{host.name}: a QEMU of {qemu.guest.name} that does not run"
        for device in sorted(host.devices):
            yield f"{host.name}: {device} in its kernel"
        if host.sending or host.receiving:
            yield f"{host.name}: {len(host.sending) + len(host.receiving)} copies of memory"

    def at_end(self) -> None:
        """Nothing more will change: every guest has one owner and runs there, nothing else is left."""
        for why in self.unsettled():
            self.world.broken(LEFT, why)
        for uuid, name in self.guests().items():
            owners = [h for h in self.world.hosts.values() if _owns(h, uuid)]
            running = [h.name for h in self.world.hosts.values() if _runs(h, uuid)]
            names = ", ".join(host.name for host in owners) or "nobody"
            if len(owners) != 1:
                self.world.broken(NONE, f"{name} is owned by {names}")
            elif running != [owners[0].name] and uuid not in self.world.killed:
                self.world.broken(NONE, f"{name} is owned by {names} and runs on {running or 'no host'}")

    def guests(self) -> dict[str, str]:
        """uuid -> name of every guest that ever ran."""
        return {uuid: self._name(uuid) for uuid in sorted(self.world.latest)}

    def _is_dead(self, host: str) -> bool:
        known = self.world.hosts.get(host)
        return known is not None and known.is_dead

    def _name(self, uuid: str) -> str:
        return self.world.names.get(uuid, uuid)


def tokens(host: SimHost) -> dict[str, Token]:
    """Guest (its uuid) -> what the journal of this host says of it."""
    return {uuid: host.journal.token(uuid) for uuid in sorted(host.world.latest)}


def _owns(host: SimHost, uuid: str) -> bool:
    return host.journal.token(uuid).phase is Phase.OWNER


def _runs(host: SimHost, uuid: str) -> bool:
    qemu = host.qemus.get(uuid)
    return qemu is not None and qemu.running
