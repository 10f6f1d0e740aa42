"""The launch profile: turns a guest into QEMU's arguments. It starts nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segue.model.guest import Disk, Guest, Nic

RECONNECT_S = 7 * 86400
"""A host that lends a disk is waited for this long."""
OPEN_S = 20


def origin_of(disk: str) -> str:
    """The node through which the disk's old place is read."""
    return f"{disk}-origin"


@dataclass(frozen=True)
class Places:
    """The files of one guest's QEMU, all in one folder that belongs to QEMU's user.

    mark: distinguishes the sockets of a QEMU that is to take another's place: see adapters/qemu/revival.py.
    """

    folder: Path
    mark: str = ""

    @property
    def monitor(self) -> Path:
        """QMP socket of the agent."""
        return self.folder / f"qmp{self.mark}.sock"

    @property
    def hatch(self) -> Path:
        """A pipe to a second monitor, which hears what is said out of band even while QEMU waits for a page."""
        return self.folder / f"hatch{self.mark}"

    @property
    def hatch_in(self) -> Path:
        """The pipe's end into QEMU."""
        return self.folder / f"hatch{self.mark}.in"

    @property
    def hatch_out(self) -> Path:
        """Where QEMU's answers go: nowhere."""
        return self.folder / f"hatch{self.mark}.out"

    @property
    def console(self) -> Path:
        """Serial console socket."""
        return self.folder / f"console{self.mark}.sock"

    @property
    def console_log(self) -> Path:
        """All that the guest wrote to its console on this host."""
        return self.folder / "console.log"

    @property
    def guest_agent(self) -> Path:
        """qemu-guest-agent's channel."""
        return self.folder / f"qga{self.mark}.sock"

    @property
    def descriptors(self) -> Path:
        """Where a QEMU that is to take another's place in front of the same memory waits for its descriptors."""
        return self.folder / f"descriptors{self.mark}.sock"

    @property
    def devices(self) -> Path:
        """Where it waits for the devices' state."""
        return self.folder / f"devices{self.mark}.sock"

    @property
    def sockets(self) -> tuple[Path, ...]:
        """What goes when the QEMU has ended."""
        ways = (self.descriptors, self.devices)
        return (self.monitor, self.console, self.guest_agent, self.hatch_in, self.hatch_out, *ways)

    @property
    def log(self) -> Path:
        """QEMU's own words."""
        return self.folder / "qemu.log"


@dataclass(frozen=True)
class Lent:
    """Disks (by id) that are not all here, where the rest is (NBD, host:port), and QEMU's object with the key."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Any] | None = None


NOTHING_LENT = Lent()


def arguments(
    guest: Guest,
    places: Places,
    tap_fds: Sequence[int],
    *,
    incoming: bool,
    memory_fd: int = -1,
    lent: Lent = NOTHING_LENT,
    in_place: bool = False,
) -> list[str]:
    """QEMU's arguments. vCPUs never start by themselves (-S): only the owner's agent says `cont`.

    memory_fd: memory that is there already, as a descriptor that QEMU inherits.
    in_place: it first waits for the descriptors of the memory that another QEMU of this host has.
    """
    return [
        *_machine(guest, memory_fd),
        *_boot(guest),
        *_channels(places),
        *_key(lent),
        *(part for disk in guest.disks for part in _disk(disk, lent)),
        *(part for nic, fd in zip(guest.nics, tap_fds, strict=True) for part in _nic(nic, fd)),
        *_watches(guest),
        *(["-incoming", "defer"] if incoming else []),
        *(["-incoming", json.dumps(_descriptors(places))] if in_place else []),
    ]


def _descriptors(places: Places) -> dict[str, Any]:
    address = {"transport": "socket", "type": "unix", "path": str(places.descriptors)}
    return {"channel-type": "cpr", "addr": address}


def _machine(guest: Guest, memory_fd: int) -> list[str]:
    memory = f"memory-backend-memfd,id=ram0,size={guest.memory_bytes},share=on"
    if memory_fd >= 0:
        path = f"/proc/self/fd/{memory_fd}"
        memory = f"memory-backend-file,id=ram0,size={guest.memory_bytes},share=on,mem-path={path}"
    return [
        *("-name", f"guest={guest.name},process=segue-{guest.name},debug-threads=on", "-uuid", guest.uuid),
        *("-S", "-no-user-config", "-nodefaults", "-nographic", "-no-shutdown"),
        # aux-ram-share lets a later QEMU take the memory over in place without a copy.
        *("-machine", f"{guest.machine},memory-backend=ram0,aux-ram-share=on,dump-guest-core=off"),
        *("-accel", guest.accelerator, "-cpu", guest.cpu_model),
        *("-smp", str(guest.vcpus), "-m", f"size={guest.memory_bytes >> 10}k", "-object", memory),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-rtc", "base=utc,driftfix=slew"),
    ]


def _boot(guest: Guest) -> list[str]:
    if not guest.kernel:
        return []
    initrd = ["-initrd", guest.initrd] if guest.initrd else []
    return ["-kernel", guest.kernel, *initrd, "-append", guest.cmdline + kernel_addresses(guest)]


def kernel_addresses(guest: Guest) -> str:
    """What is added to the kernel's command line, so that it gives its cards their addresses."""
    return "".join(f" ip={text}" for i, nic in enumerate(guest.nics) for text in _addresses(nic, guest, i))


def _addresses(nic: Nic, guest: Guest, index: int) -> list[str]:
    found = [_kernel_address(nic, guest.name, index)] if nic.address else []
    if nic.address6:
        # As dracut.cmdline(7) and systemd-network-generator(8) write IPv6; the kernel itself has no such thing.
        address, _, prefix = nic.address6.partition("/")
        found.append(f"[{address}]:::{prefix}:{guest.name}:eth{index}:off")
    return found


def _kernel_address(nic: Nic, name: str, index: int) -> str:
    """`ip=` of the kernel's command line, as nfsroot.rst and systemd-network-generator read it."""
    address, _, prefix = nic.address.partition("/")
    bits = int(prefix or 24)
    mask = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
    dotted = ".".join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))
    return f"{address}:::{dotted}:{name}:eth{index}:off"


def _channels(places: Places) -> list[str]:
    return [
        *("-chardev", f"socket,id=mon0,path={places.monitor},server=on,wait=off"),
        *("-mon", "chardev=mon0,mode=control"),
        *("-chardev", f"pipe,id=hatch0,path={places.hatch}", "-mon", "chardev=hatch0,mode=control"),
        *(
            "-chardev",
            f"socket,id=con0,path={places.console},server=on,wait=off,logfile={places.console_log}"
            f"{',logappend=on' if places.mark else ''}",
        ),
        *("-serial", "chardev:con0"),
        *("-device", "virtio-serial-pci,id=vser0"),
        *("-chardev", f"socket,id=qga0,path={places.guest_agent},server=on,wait=off"),
        *("-device", "virtserialport,bus=vser0.0,chardev=qga0,name=org.qemu.guest_agent.0"),
        *("-device", "virtio-rng-pci,id=rng0"),
    ]


def _watches(guest: Guest) -> list[str]:
    """Last, so that no other device has another place on the bus for them. A crashed guest stands until it was seen."""
    if not guest.watched:
        return []
    return [
        *("-device", "pvpanic-pci,id=panic0", "-device", "i6300esb,id=watchdog0"),
        *("-action", "panic=pause,watchdog=pause"),
    ]


def _key(lent: Lent) -> list[str]:
    return ["-object", json.dumps(dict(lent.credentials))] if lent.addresses and lent.credentials else []


def _origin(disk: Disk, lent: Lent) -> dict[str, Any]:
    """The disk's old place. A link that is cut is waited for: the guest stands with its disk, and goes on with it."""
    host, _, port = lent.addresses[disk.id].rpartition(":")
    node: dict[str, Any] = {
        "driver": "nbd",
        "node-name": origin_of(disk.id),
        "server": {"type": "inet", "host": host, "port": port},
        "export": disk.id,
        "read-only": True,
        "reconnect-delay": RECONNECT_S,
        "open-timeout": OPEN_S,
    }
    if lent.credentials:
        node["tls-creds"] = lent.credentials["id"]
    return node


def _disk(disk: Disk, lent: Lent) -> list[str]:
    # cache.direct: two hosts see this file, so neither may keep pages of it that the other changes.
    file = {
        "driver": "file",
        "node-name": f"{disk.id}-file",
        "filename": disk.path,
        "locking": "on",
        "discard": "unmap",
        "cache": {"direct": True},
    }
    node = {"driver": disk.format, "node-name": disk.id, "file": f"{disk.id}-file", "discard": "unmap"}
    below = []
    if disk.id in lent.addresses:
        below = ["-blockdev", json.dumps(_origin(disk, lent))]
        node["backing"] = origin_of(disk.id)
    device = f"virtio-blk-pci,id={disk.id}-dev,drive={disk.id},serial={disk.id}"
    return [*below, "-blockdev", json.dumps(file), "-blockdev", json.dumps(node), "-device", device]


def _nic(nic: Nic, tap_fd: int) -> list[str]:
    device = f"virtio-net-pci,id={nic.id}-dev,netdev={nic.id},mac={nic.mac},romfile=,guest_announce=on"
    if nic.mtu:
        device += f",host_mtu={nic.mtu}"
    return ["-netdev", f"tap,id={nic.id},fd={tap_fd}", "-device", device]
