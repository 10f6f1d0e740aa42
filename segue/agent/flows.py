"""What a stateful firewall remembers of a guest's connections moves along with it."""

from __future__ import annotations

import asyncio
import ipaddress

import structlog

from segue.adapters.net import conntrack
from segue.model.guest import Guest

log = structlog.get_logger()

TRIAL_S = 120
"""Connections of a guest that does not run here yet are forgotten by themselves after so long."""


class Flows:
    """The connections that came in with guests which do not run here yet. Every method may be called twice."""

    def __init__(self) -> None:
        self._on_trial: dict[str, list[bytes]] = {}

    async def read(self, guest: Guest) -> list[bytes]:
        """Every connection of the guest that this host knows."""
        return await asyncio.to_thread(conntrack.read, addresses(guest))

    async def take_in(self, guest: Guest, flows: list[bytes]) -> None:
        """Makes the guest's connections known before it runs here; what is not the guest's is left out."""
        own = {ipaddress.ip_address(address).packed for address in addresses(guest)}
        wanted = [flow for flow in flows if conntrack.concerns(flow, own)]
        self._on_trial.setdefault(guest.uuid, []).extend(wanted)
        await self._write(guest, wanted, TRIAL_S)

    async def keep(self, guest: Guest) -> None:
        """The guest runs here: its connections have all their time."""
        await self._write(guest, self._on_trial.pop(guest.uuid, []), 0)

    async def _write(self, guest: Guest, flows: list[bytes], timeout_s: int) -> None:
        try:
            made = await asyncio.to_thread(conntrack.write, flows, timeout_s) if flows else 0
        except (OSError, ValueError) as error:
            log.warning("connections not taken over", guest=guest.name, why=str(error))
            return
        if flows:
            log.info("connections taken over", guest=guest.name, connections=made)

    async def drop(self, guest: Guest) -> None:
        """The guest did not come to run here."""
        await self.forget(guest, self._on_trial.pop(guest.uuid, []))

    async def forget(self, guest: Guest, flows: list[bytes]) -> None:
        """These connections are not this host's business any more."""
        try:
            if flows:
                await asyncio.to_thread(conntrack.forget, flows)
        except OSError as error:
            log.warning("connections not forgotten", guest=guest.name, why=str(error))


def addresses(guest: Guest) -> list[str]:
    """The addresses that segue gave the guest, without prefix: it does not know of others."""
    given = [address for nic in guest.nics for address in (nic.address, nic.address6) if address]
    return [address.partition("/")[0] for address in given]
