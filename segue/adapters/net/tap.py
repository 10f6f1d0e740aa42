"""Tap devices: made, opened for QEMU, and read out when QEMU stands still."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TUN = "/dev/net/tun"
# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNGETIFF = 0x800454D2
TUNGETVNETHDRSZ = 0x800454D7
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
# linux/if_packet.h, linux/unistd.h
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_VNET_HDR_BYTES = 10
PACKET_QDISC_BYPASS = 20
SYS_PIDFD_GETFD = 438
FRAME_BYTES_MAX = 1 << 17


def open_tap(name: str) -> int:
    """Makes the tap if it is not there and returns a descriptor for QEMU; the device outlives it."""
    fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    try:
        fcntl.ioctl(fd, TUNSETIFF, request)
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    except OSError:
        os.close(fd)
        raise
    return fd


def find_tap_fd(pid: int, name: str) -> int | None:
    """The number that the tap has inside process `pid`, or None where it holds no such tap."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(entry) != TUN:
                continue
            info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
        except FileNotFoundError:
            continue  # Closed while we looked.
        if f"iff:\t{name}" in info.splitlines():
            return int(entry.name)
    return None


class TapRing:
    """The frames that wait in a tap for QEMU, seen through a copy of QEMU's own descriptor."""

    def __init__(self, pid: int, name: str) -> None:
        number = find_tap_fd(pid, name)
        if number is None:
            raise FileNotFoundError(f"process {pid} holds no tap {name}")
        self._fd = take_fd(pid, number)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def empty(self) -> bool:
        """True when no frame waits."""
        return not self._poll.poll(0)

    def rescue(self, out: socket.socket) -> int:
        """Reads what waits and sends it out (see `open_frames`); how many frames that were.

        A QEMU that runs takes some of them meanwhile: none is lost or comes twice, but those of here come later.
        """
        header = struct.unpack("i", fcntl.ioctl(self._fd, TUNGETVNETHDRSZ, b"\0" * 4))[0]
        rescued = 0
        while not self.empty():
            try:
                frame = os.read(self._fd, FRAME_BYTES_MAX)
            except BlockingIOError:
                continue  # QEMU, which reads without waiting, was faster.
            out.send(frame[:PACKET_VNET_HDR_BYTES] + frame[header:])
            rescued += 1
        return rescued

    def close(self) -> None:
        """Gives our copy of the descriptor back."""
        os.close(self._fd)


def feed_sacrifice(device: str) -> None:
    """Sends one frame to nobody into a tap whose QEMU is paused: it swallows the first that comes."""
    frame = b"\x02\x00\x00\x00\x00\x00" * 2 + b"\x88\xb5" + b"\0" * 46  # local experimental EtherType
    with frame_socket(device) as out:
        out.send(b"\0" * PACKET_VNET_HDR_BYTES + frame)


@contextmanager
def frame_socket(device: str, *, past_hooks: bool = False) -> Iterator[socket.socket]:
    """Sends whole frames out of a device, until the block ends. Not in a blackout: see `open_frames`."""
    with open_frames(device, past_hooks=past_hooks) as raw:
        yield raw


def open_frames(device: str, *, past_hooks: bool = False) -> socket.socket:
    """Sends whole frames out of a device. `past_hooks`: no queue and no redirection of the device touches them.

    To close it takes the kernel 5 to 25 ms: it waits until no processor can still look at it (synchronize_net).
    """
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    if past_hooks:
        raw.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    raw.bind((device, 0))
    return raw


def take_fd(pid: int, number: int) -> int:
    """A copy of another process's descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.pidfd_open(pid)
    try:
        fd = int(libc.syscall(SYS_PIDFD_GETFD, handle, number, 0))
    finally:
        os.close(handle)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot copy descriptor {number} of process {pid}: {os.strerror(error)}")
    return fd
