"""What is asked, compared and measured before a migration is begun. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segue.adapters import system
from segue.adapters.peer import PeerClient, expired_on
from segue.adapters.qemu import queues
from segue.agent import app_checks, foresight, source_disks
from segue.agent.config import Config
from segue.agent.guests import Guests
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.agent.target import missing_files
from segue.errors import Kind, Refused
from segue.model.belongings import Engine
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase
from segue.model.host import HostFacts
from segue.model.ladder import Shape
from segue.model.migration import Forecast, Limits
from segue.model.storage import DiskCopy
from segue.policy import budgets, compatibility, crash, shape, wishes
from segue.policy.storage import Plan
from segue.wire import offer
from segue.wire.offer import Feature


@dataclass(frozen=True)
class Agreed:
    """What the two agents found out before anything is begun."""

    version: int
    copies: tuple[DiskCopy, ...]
    engine: Engine
    """What takes applications in there."""


class Beforehand:
    """Of one host, for the guests that are to leave it."""

    def __init__(self, services: Services, guests: Guests) -> None:
        self._services = services
        self._guests = guests

    async def foresee(self, keeper: Keeper, to: str, limits: Limits) -> Forecast:
        """All checks and the forecast; nothing is changed. Raises Refused with every reason."""
        limits = budgets.limits_of(keeper.guest_here(), limits)
        compatibility.refuse(keeper.guest_here(), to, wishes.wrong(limits))
        agreed = await self.checked(keeper, to, limits)
        return await self.measured(keeper, to, limits, agreed)

    async def measured(self, keeper: Keeper, to: str, limits: Limits, agreed: Agreed) -> Forecast:
        """How it will go."""
        if keeper.guest_here().is_app:
            return await app_checks.measure(
                self._services, keeper, self._services.peer(to), limits, agreed.engine
            )
        return await foresight.measure(self._services, keeper, self._services.peer(to), limits, agreed.copies)

    async def checked(self, keeper: Keeper, to: str, limits: Limits) -> Agreed:
        """What both agents can do together. Raises Refused with every reason why the guest cannot be moved."""
        guest = self.movable(keeper, to)
        ours, theirs, version, plan = await self._met(guest, to, pull=limits.storage_postcopy)
        reasons = compatibility.between(guest, ours, theirs)
        encrypted = self._services.protection.required
        reasons += offer.obstacles(
            ours, theirs, needs(guest, limits, encrypted=encrypted, copies=bool(plan.copies))
        )
        reasons += compatibility.against_post_copy(theirs) if limits.post_copy else ()
        if keeper.machine is not None:
            reasons += compatibility.queue_obstacles(await queues.entries(keeper.machine.monitor), theirs)
        if guest.is_app:
            reasons += await app_checks.obstacles(self._services, guest, theirs, limits)
        reasons += compatibility.obstacles(guest, theirs, compatibility.Already(theirs.guests))
        compatibility.refuse(guest, to, reasons + plan.obstacles)
        compatibility.refuse(
            guest, to, tuple(f"its file {p} is gone from here" for p in missing_files(guest))
        )
        return Agreed(version, plan.copies, theirs.app_engine or Engine(""))

    async def _met(self, guest: Guest, to: str, *, pull: bool) -> tuple[HostFacts, HostFacts, int, Plan]:
        """(what this host can do, and that one, the wire version of both, what is to be done with the disks)."""
        peer = self._services.peer(to)
        theirs = await self._ask(peer)
        self._same_installation(theirs)
        ours = self._guests.facts()
        version = offer.common(ours, theirs)
        common = str(self._services.config.shared_dir)
        return (
            ours,
            theirs,
            version,
            await source_disks.survey(guest, peer, version, pull=pull, common=common),
        )

    def startable(self, keeper: Keeper, to: str) -> Guest:
        """The guest, if it crashed here and may be started there. Raises Refused."""
        guest = keeper.guest_here()
        self._services.peer(to)
        if keeper.token.phase is not Phase.OWNER or keeper.in_saga:
            raise busy(guest.name, f"it is {keeper.token.phase} here")
        if keeper.copy() is not Copy.NONE or not self._services.crashes.wants_elsewhere(guest):
            raise busy(guest.name, f"it is {keeper.state()}, and is not to be started elsewhere")
        return guest

    async def agreed_cold(self, guest: Guest, to: str) -> int:
        """The wire version of a cold migration. Raises Refused with every reason against that host."""
        ours, theirs, version, plan = await self._met(guest, to, pull=False)
        reasons = compatibility.between(guest, ours, theirs)
        reasons += offer.obstacles(
            ours, theirs, (*needs(guest, Limits(), encrypted=False, copies=False), Feature.COLD)
        )
        reasons += compatibility.obstacles(guest, theirs, compatibility.Already(theirs.guests))
        reasons += tuple(f"{copy.disk.path} is not seen there" for copy in plan.copies)
        compatibility.refuse(guest, to, reasons + plan.obstacles)
        return version

    def movable(self, keeper: Keeper, to: str) -> Guest:
        """The guest, if it can leave for that host now. Raises Refused."""
        guest = keeper.guest_here()
        if to == self._services.config.name:
            compatibility.refuse(guest, to, ("it is there already; `segue vm update` gives it another QEMU",))
        self._services.peer(to)
        return self.demand_movable(keeper)

    def demand_movable(self, keeper: Keeper) -> Guest:
        """A guest that runs here, and that nothing else is being done with. Raises Refused."""
        guest = keeper.guest_here()
        if keeper.token.phase is not Phase.OWNER or keeper.in_saga:
            raise busy(guest.name, f"it is {keeper.token.phase} here, a migration is under way")
        if keeper.resident.lacks_memory or keeper.resident.deaf:
            raise busy(guest.name, "some of its memory is not here yet")
        if origins := self._services.pulling.origins(guest.uuid):
            raise busy(guest.name, f"its disks are still being pulled from {origins[0].host}")
        if keeper.copy() is not Copy.RUNNING:
            raise busy(guest.name, f"it is {keeper.state()}; only a running guest can be moved live")
        return guest

    async def _ask(self, peer: PeerClient) -> HostFacts:
        try:
            return await peer.facts()
        except (ConnectionError, TimeoutError) as error:
            if day := expired_on(str(self._services.config.tls.cert)):
                raise _expired(peer.name, self._services.config, day) from error
            raise Refused(
                what=f"{peer.name} cannot be reached",
                why=str(error),
                todo=f"Look whether the agent runs on {peer.name} and the fabric between the hosts works.",
                kind=Kind.UNREACHABLE,
            ) from error

    def _same_installation(self, theirs: HostFacts) -> None:
        known = self._services.journal.peer_instance(theirs.name)
        if not known:
            self._services.journal.put_peer(theirs.name, theirs.instance)
        elif known != theirs.instance:
            raise Refused(
                what=f"{theirs.name} is not trusted",
                why="another agent now answers under that name than the one known here: it was installed anew, "
                "or two hosts have the same name",
                todo=f"If it was installed anew: `segue host forget {theirs.name}` on {self._services.config.name}.",
                kind=Kind.CONFLICT,
            )


def needs(guest: Guest, limits: Limits, *, encrypted: bool, copies: bool) -> Iterator[Feature]:
    """What the target's agent has to understand to take this guest in."""
    if encrypted:
        yield Feature.MEMORY_TLS
    if copies:
        yield Feature.LOCAL_DISKS
    if len(guest.nics) > 1:
        yield Feature.SEVERAL_NICS
    if guest.uid:
        yield Feature.OWN_USER
    if guest.watched:
        yield Feature.WATCHED
    if crash.goes_elsewhere(guest.on_crash):
        yield Feature.COLD
    if limits.post_copy:
        yield Feature.POSTCOPY


def shape_for(foreseen: Forecast, limits: Limits, version: int) -> Shape:
    """As the forecast asks for, where the target understands it: the copy does without just as well."""
    if not offer.knows(Feature.CHANNELS, version):
        throttle = shape.may_throttle(foreseen, limits)
        return Shape(reason="the target's agent knows one plain connection only", throttle=throttle)
    return shape.choose(foreseen, limits, system.cpus())


def _expired(peer: str, config: Config, day: str) -> Refused:
    return Refused(
        what=f"{peer} does not trust {config.name}",
        why=f"the certificate of {config.name}, {config.tls.cert}, expired on {day}",
        todo=f"Renew it and restart the agent on {config.name}; its guests run on.",
        kind=Kind.AUTH,
    )


def busy(name: str, why: str) -> Refused:
    """It cannot be moved now."""
    return Refused(
        what=f"{name} cannot be moved now",
        why=why,
        todo=f"Look with `segue vm show {name}` and `segue migration list`.",
        kind=Kind.CONFLICT,
    )
