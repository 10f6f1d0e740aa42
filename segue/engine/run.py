"""What the steps of one migration share."""

from __future__ import annotations

from dataclasses import dataclass

from segue.engine.clock import Clock
from segue.engine.ports import Custody, Disks, GuestHere, Network, Notice, Peer, Record
from segue.model.guest import Guest


@dataclass
class Run:
    """One migration on its way: the guest, and the ports through which it is moved."""

    guest: Guest
    here: GuestHere
    network: Network
    disks: Disks
    peer: Peer
    custody: Custody
    record: Record
    notice: Notice
    clock: Clock
