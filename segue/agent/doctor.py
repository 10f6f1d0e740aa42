"""Examines this host: gathers what it shows, and has the policy judge it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from segue.adapters import system
from segue.adapters.checkup import host, trial, width
from segue.adapters.oci import cgroup
from segue.adapters.peer import PeerClient
from segue.agent.apps import Apps, missing_programs
from segue.agent.guests import Guests
from segue.agent.services import Services
from segue.errors import Kind, SegueError
from segue.model.checkup import AppSigns, Finding, Folder, HostSigns, PeerSigns
from segue.model.host import HostFacts
from segue.policy import compatibility, diagnosis, mobility
from segue.wire import offer

SMALL_BYTES = 576
"""Every path carries this: RFC 791."""


@dataclass(frozen=True)
class Examined:
    """What the API answers: the worst level, and every finding."""

    host: str
    level: str
    findings: tuple[Finding, ...]


async def examine(services: Services, guests: Guests) -> Examined:
    """Takes some seconds; what it makes to try something it takes away again."""
    peers = await asyncio.gather(*(_peer(services, guests.facts(), peer) for peer in services.peers.values()))
    signs = await asyncio.to_thread(_here, services, guests.facts(), guests.promised_bytes(), tuple(peers))
    findings = diagnosis.examine(signs)
    return Examined(services.config.name, diagnosis.worst(findings), findings)


def _here(services: Services, facts: HostFacts, promised: int, peers: tuple[PeerSigns, ...]) -> HostSigns:
    config = services.config
    return HostSigns(
        name=config.name,
        channels=config.tls.channels,
        qemu_version=facts.qemu_version,
        missing_programs=host.missing_programs(),
        compressions=services.capabilities.compressions,
        accelerator=facts.accelerator,
        processor_virtualizes=host.virtualizes(),
        kvm_fault=host.device_fault(host.KVM, config.qemu_user),
        userfault=host.userfault_fault(config.qemu_user),
        memfd_fault=host.memfd_fault(),
        user_fault=host.user_fault(config.qemu_user, config.qemu_uids),
        shares_user=config.qemu_uids == 0,
        network_faults=trial.network(),
        conntrack_fault=trial.conntrack(),
        bridge=config.bridge,
        bridge_there=config.bridge in system.bridges(),
        bridge_mtu=host.mtu(config.bridge),
        certificate=host.certificate(config.tls.ca, config.tls.cert, config.tls.key),
        folders=_folders(services),
        sync_s=host.sync_s(config.state_dir),
        overcommit=host.overcommit(),
        memory_total_bytes=system.memory_bytes()[0],
        promised_bytes=promised,
        service=host.service(),
        failpoints=config.failpoints is not None,
        apps=_apps(services.apps),
        peers=peers,
        fleet=services.journal.fleet(),
        foreign=tuple(sorted(services.foreign)),
    )


def _apps(here: Apps) -> AppSigns:
    """Programs as they are now; controllers and filter as the agent found them at its start, and uses them."""
    return AppSigns(
        missing_programs=missing_programs(),
        move_fault=here.engine.fault,
        memory_way=mobility.memory_way(here.engine),
        missing_limits=here.missing_limits,
        filters=bool(here.seccomp),
        cgroup_fault=cgroup.fault(),
        own_mounts=host.has_own_mounts(),
    )


def _folders(services: Services) -> tuple[Folder, ...]:
    config = services.config
    return (
        host.folder("state_dir", config.state_dir, write=True),
        host.folder("run_dir", config.run_dir, write=True),
        host.folder("shared_dir", config.shared_dir, write=True),
        host.folder("images_dir", config.images_dir, write=False),
        host.folder("apps_dir", config.apps_dir, write=True),
    )


async def _peer(services: Services, ours: HostFacts, peer: PeerClient) -> PeerSigns:
    try:
        theirs = await peer.facts()
        offset_s, uncertainty_s = await peer.clock()
    except SegueError as error:
        return PeerSigns(peer.name, fault=error.why, not_trusted=error.kind is Kind.AUTH)
    except (ConnectionError, TimeoutError) as error:
        return PeerSigns(peer.name, fault=str(error))
    frame = diagnosis.FRAME_BYTES
    sizes = {SMALL_BYTES, frame, frame + diagnosis.TUNNEL_BYTES}
    return PeerSigns(
        name=peer.name,
        clock_offset_s=offset_s,
        clock_uncertainty_s=uncertainty_s,
        misfits=_misfits(ours, theirs),
        widest_bytes=await asyncio.to_thread(_widest, services.config.peer_address(peer.name), sizes),
    )


def _misfits(ours: HostFacts, theirs: HostFacts) -> tuple[str, ...]:
    return (*compatibility.unlike(ours, theirs), *offer.obstacles(ours, theirs))


def _widest(address: str, sizes: set[int]) -> int:
    try:
        resolved = socket.getaddrinfo(address, None, socket.AF_INET)[0][4][0]
        return width.widest(str(resolved), tuple(sizes))
    except OSError:
        return 0
