"""A second copy of every frame that was turned away from the guest, until it is certain that the target has it."""

from __future__ import annotations

import socket

from segue.adapters.net.tap import FRAME_BYTES_MAX, SOL_PACKET, frame_socket

# linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h
ETH_P_ALL = 3
PACKET_OUTGOING = 4
PACKET_STATISTICS = 6
PACKET_VNET_HDR = 15
SO_RCVBUFFORCE = 33
KEPT_BYTES = 64 << 20
"""What the kernel may keep for us, counted with its own overhead: about 20,000 ordinary frames."""


class KeptFrames:
    """Hears what leaves through a tunnel and keeps it: only the source's own memory is sure to outlive a cut link.

    arrived: what comes out of it instead, on the target of an application, which has no ring in which it could wait.
    """

    def __init__(self, tunnel: str, *, arrived: bool = False) -> None:
        self._arrived = arrived
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, KEPT_BYTES)
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.bind((tunnel, ETH_P_ALL))

    def give_back(self, tap: str) -> int:
        """Puts what was kept so far into the tap, in its order and past the tap's own redirection; how many."""
        given = 0
        with frame_socket(tap, past_hooks=True) as out:
            while True:
                try:
                    frame, sender = self._socket.recvfrom(FRAME_BYTES_MAX)
                except BlockingIOError:
                    return given
                if (sender[2] == PACKET_OUTGOING) is not self._arrived:
                    out.send(frame)
                    given += 1

    def overflown(self) -> int:
        """Frames for which there was no room since this was asked last."""
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        return int.from_bytes(statistics[4:8], "little")

    def close(self) -> None:
        """Forgets what was kept."""
        self._socket.close()
