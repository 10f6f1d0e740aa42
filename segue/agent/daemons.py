"""The storage daemons of this host: at most one for each guest, found again after a restart of the agent."""

from __future__ import annotations

from pathlib import Path

from segue.adapters.qemu import identity
from segue.adapters.qemu.credentials import Endpoint
from segue.adapters.qemu.machine import make_folder
from segue.adapters.storage import daemon
from segue.adapters.storage.daemon import DaemonPlaces, StorageDaemon
from segue.agent.channels import Protection
from segue.agent.config import Config
from segue.model.guest import Guest


class Daemons:
    """One connection to each: a daemon's monitor speaks to one client at a time, and a second would wait for ever."""

    def __init__(self, config: Config, protection: Protection) -> None:
        self._config = config
        self._protection = protection
        self._known: dict[str, StorageDaemon] = {}

    async def find(self, guest: Guest) -> StorageDaemon | None:
        """The guest's daemon, if there is one."""
        known = self._known.get(guest.uuid)
        if known is not None and not known.monitor.gone.is_set():
            return known
        self._known.pop(guest.uuid, None)
        found = await daemon.attach(self.places(guest))
        if found is not None:
            self._known[guest.uuid] = found
        return found

    async def need(self, guest: Guest, migration: str, port: int = 0) -> StorageDaemon:
        """The guest's daemon; one is started where there is none. port: 0 for any."""
        found = await self.find(guest)
        if found is not None:
            return found
        owner, places = identity.of(guest, self._config.qemu_user), self.places(guest)
        creds = self._protection.credentials(guest, migration)
        key = creds.properties(Endpoint.SERVER) if creds is not None else None
        make_folder(places.folder, owner)
        made = await daemon.launch(places, self._config.inlet, owner, key, port)
        self._known[guest.uuid] = made
        return made

    def left(self, guest: Guest) -> bool:
        """True for a daemon that did not go in good order."""
        return self.places(guest).monitor.exists()

    async def end(self, guest: Guest) -> None:
        """No daemon of the guest stays, whatever it was doing. Safe to repeat."""
        found = await self.find(guest)
        if found is not None:
            await found.end()
        self.forget(guest)

    def forget(self, guest: Guest) -> None:
        """It has ended in good order."""
        self._known.pop(guest.uuid, None)
        places = self.places(guest)
        for path in (places.monitor, places.address):
            path.unlink(missing_ok=True)

    def places(self, guest: Guest) -> DaemonPlaces:
        """Its files, in the guest's folder."""
        return DaemonPlaces(Path(self._config.run_dir) / "guests" / guest.name)
