"""Where the type checker proves that the real parts fit the engine's ports."""

from __future__ import annotations

from dataclasses import dataclass

from segue.adapters.clock import RealClock
from segue.adapters.peer import PeerClient
from segue.agent.boards import MigrationNotice
from segue.agent.in_place import CustodyInPlace, GuestInPlace, PeerInPlace
from segue.agent.network_in_place import NetworkInPlace
from segue.agent.record import MigrationRecord
from segue.agent.source import SourceCustody, SourceGuest
from segue.agent.source_app import SourceApp
from segue.agent.source_disks import SourceDisks
from segue.agent.source_network import SourceNetwork
from segue.engine.run import Run
from segue.model.guest import Guest


@dataclass(frozen=True)
class Between:
    """The parts that move a guest to another host."""

    here: SourceGuest | SourceApp
    network: SourceNetwork
    peer: PeerClient
    custody: SourceCustody


@dataclass(frozen=True)
class InPlace:
    """The parts that give a guest another QEMU on its host."""

    here: GuestInPlace
    network: NetworkInPlace
    peer: PeerInPlace
    custody: CustodyInPlace


def wire(
    guest: Guest,
    parts: Between | InPlace,
    disks: SourceDisks,
    record: MigrationRecord,
    notice: MigrationNotice,
    clock: RealClock,
) -> Run:
    """The engine's view of one migration."""
    return Run(
        guest=guest,
        here=parts.here,
        network=parts.network,
        disks=disks,
        peer=parts.peer,
        custody=parts.custody,
        record=record,
        notice=notice,
        clock=clock,
    )
