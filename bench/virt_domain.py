"""The same guest as libvirt describes it: every device that segue gives it, and none besides."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from segue.adapters.qemu.command import kernel_addresses
from segue.model.guest import Disk, Guest, Nic

MONITOR: Final = "/run/segue/bench-virt/{name}.qmp"
"""A second monitor: QEMU's own times of STOP and RESUME, as for every other peer."""
EMULATOR: Final = "/usr/local/bin/bench-qemu"
QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"


def describe(guest: Guest) -> str:
    """The domain's XML."""
    monitor = f"unix:{MONITOR.format(name=guest.name)},server=on,wait=off"
    return f"""<domain type='qemu' xmlns:qemu='{QEMU_NAMESPACE}'>
  <name>{guest.name}</name>
  <uuid>{guest.uuid}</uuid>
  <memory unit='b'>{guest.memory_bytes}</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>{guest.vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{guest.machine}'>hvm</type>
    <kernel>{escape(guest.kernel)}</kernel>
    <initrd>{escape(guest.initrd)}</initrd>
    <cmdline>{escape(guest.cmdline + kernel_addresses(guest))}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{guest.cpu_model}</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <emulator>{EMULATOR}</emulator>
    {"".join(_disk(disk, f"vd{letter}") for disk, letter in zip(guest.disks, ascii_lowercase, strict=False))}
    {"".join(_nic(nic) for nic in guest.nics)}
    <serial type='pty'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline><qemu:arg value='-qmp'/><qemu:arg value={quoteattr(monitor)}/></qemu:commandline>
</domain>
"""


def _disk(disk: Disk, name: str) -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{disk.format}' cache='none' discard='unmap'/>"
        f"<source file={quoteattr(disk.path)}/><target dev='{name}' bus='virtio'/></disk>"
    )


def _nic(nic: Nic) -> str:
    return (
        f"<interface type='bridge'><source bridge='{nic.bridge}'/><mac address='{nic.mac}'/>"
        "<model type='virtio'/><driver name='qemu'/><rom enabled='no'/></interface>"
    )
