"""How a migration's channels are protected on this host: by a key of its own, or, where so configured, by nothing."""

from __future__ import annotations

from segue.adapters.net import guard
from segue.adapters.qemu import credentials, identity
from segue.adapters.qemu.credentials import Credentials, Endpoint, Vault
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Monitor, QemuGone, QemuRefused
from segue.agent.config import Channels, Config
from segue.errors import Aborted, Kind, Refused
from segue.model.guest import Guest
from segue.model.landing import Placement


class Protection:
    """The keys of this host's migrations, incoming and outgoing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._vault = Vault(config.run_dir / "keys")

    @property
    def required(self) -> bool:
        """True where plain channels are refused."""
        return self._config.tls.channels == Channels.REQUIRED

    def secret(self, guest: Guest, migration: str) -> str:
        """The key for a migration that leaves from here, for the target's agent alone; empty where none is used.

        It is the same again when an agent that was restarted asks: the target's QEMU has it already.
        """
        if not self.required:
            return ""
        return self._vault.secret(self._vault.make(guest.uuid, migration, self._group(guest)))

    def demand_agreed(self, placement: Placement) -> None:
        """Raises Refused where the source's wish and our configuration do not fit."""
        if self.required and not placement.secret:
            raise _not_agreed(placement, self._config.name, "it offers channels that are not encrypted")
        if placement.secret and not self.required:
            raise _not_agreed(placement, self._config.name, "here channels are not encrypted, there they are")

    def keep(self, placement: Placement) -> None:
        """Keeps the key of a migration that comes in, once the guest's token says that it may."""
        if placement.secret:
            self._vault.keep(
                placement.guest.uuid, placement.migration, placement.secret, self._group(placement.guest)
            )

    def credentials(self, guest: Guest, migration: str) -> Credentials | None:
        """What QEMU and its helpers need for this migration; None where channels are plain."""
        if not self.required:
            return None
        found = self._vault.find(guest.uuid, migration)
        if found is None:
            raise Aborted(
                what=f"{guest.name} is not moved over a channel that is not encrypted",
                why="the key of this migration is gone from this host",
                todo="Start the migration again.",
            )
        return found

    async def offer(self, monitor: Monitor, guest: Guest, migration: str, endpoint: Endpoint) -> str:
        """Gives the key to a running process; the id of its object, empty where channels are plain."""
        found = self.credentials(guest, migration)
        return "" if found is None else await credentials.offer(monitor, found, endpoint)

    def guard(self, pid: int, address: str, peers: set[str]) -> None:
        """Nobody but these peers may even connect to what process `pid` listens at (host:port)."""
        guard.only_from(pid, int(address.rpartition(":")[2]), sorted(peers))

    async def withdraw(self, guest: Guest, machine: Machine | None) -> None:
        """The migration is over: its key goes from QEMU and from this host. Safe to repeat."""
        try:
            if machine is not None and machine.alive():
                await credentials.withdraw(machine.monitor)
        except (QemuGone, QemuRefused, TimeoutError):
            pass  # The object goes with its process, or when the next migration makes its own.
        self._vault.forget(guest.uuid)

    def forget(self, guest: Guest) -> None:
        """The guest's QEMU is gone, and with it the last who needed a key."""
        self._vault.forget(guest.uuid)

    def _group(self, guest: Guest) -> int:
        return identity.of(guest, self._config.qemu_user).gid


def _not_agreed(placement: Placement, here: str, why: str) -> Refused:
    return Refused(
        what=f"{here} does not take {placement.guest.name}",
        why=why,
        todo=f"Set channels in [tls] of agent.toml alike on {here} and {placement.source}, and restart the agents.",
        kind=Kind.AUTH,
    )
