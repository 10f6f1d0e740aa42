"""The UDP probe: numbered packets at a steady rate to an echo server; it repeats none."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import Final

from segue.errors import Kind, Refused
from segue.traffic.ledger import Ledger, Reply
from segue.traffic.session import SLICE_S, Session

HEADER: Final = struct.Struct("!4s8sQ")
"""Magic, this run's own number, the packet's number."""
MAGIC: Final = b"sgue"
SO_TIMESTAMPNS: Final = 35
"""Linux: asm-generic/socket.h; Python has no name for it."""
TIMESPEC: Final = struct.Struct("@qq")
BUFFER_BYTES: Final = 4 << 20
"""A burst of packets held during a blackout has to fit, whatever else this machine does in that moment."""
SIZE_MIN: Final = HEADER.size
SIZE_MAX: Final = 1472
"""A larger packet would be cut in two on a link of 1500 bytes."""


class UdpProbe:
    """Two threads on one socket: sending must keep its schedule however many replies come at once."""

    def __init__(
        self, session: Session, address: tuple[str, int], target: str, rate_per_s: float, size_bytes: int
    ) -> None:
        self.ledger = Ledger(session.worst)
        self.excuse = ""
        self._session = session
        self._address = address
        self._target = target
        self._period_s = 1.0 / rate_per_s
        self._filler = bytes(index % 251 for index in range(size_bytes - HEADER.size))
        self._run = os.urandom(8)
        self._sent_all = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send and receive until the session stops. Raises Refused where nothing listens."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            # The kernel's time of arrival: how late this process gets the processor must not look like an outage.
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.settimeout(SLICE_S)
            sock.connect(self._address)
            sender = threading.Thread(target=self._send_all, args=(sock,), name="probe-udp-send")
            sender.start()
            try:
                self._receive_all(sock)
            finally:
                self._session.stop()
                sender.join()
        self._session.note_gap(self.ledger.close(self._session.stopped_s))

    def _send_all(self, sock: socket.socket) -> None:
        session, number = self._session, 0
        start_s = session.clock.now_s()
        while not session.stopping.wait(max(0.0, start_s + number * self._period_s - session.clock.now_s())):
            with self._lock:
                self.ledger.note_sent(number, session.clock.now_s())
            self._send(sock, HEADER.pack(MAGIC, self._run, number) + self._filler)
            number += 1
        self._sent_all.set()

    def _send(self, sock: socket.socket, packet: bytes) -> None:
        """The kernel reports an earlier packet's refusal here, instead of sending this one: so try twice.

        A packet that this machine cannot even send is lost like any other: it was sent and gets no reply.
        """
        for _ in range(2):
            try:
                sock.send(packet)
            except OSError:
                continue
            return

    def _receive_all(self, sock: socket.socket) -> None:
        while not self._finished():
            try:
                packet, ancillary, _, _ = sock.recvmsg(2048, socket.CMSG_SPACE(TIMESPEC.size))
            except TimeoutError:
                continue
            except OSError as error:
                if isinstance(error, ConnectionRefusedError) and not self._session.heard.is_set():
                    raise self._nothing_there() from error
                continue
            self._account(packet, ancillary)

    def _finished(self) -> bool:
        """All packets are back, or the time for late ones is over."""
        if not self._sent_all.is_set():
            return False
        return not self.ledger.waiting or self._session.left_s() <= 0

    def _account(self, packet: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        at_s = self._session.clock.now_s() - _age_s(ancillary)
        if len(packet) < HEADER.size:
            return
        magic, run, number = HEADER.unpack_from(packet)
        if magic != MAGIC or run != self._run:
            return
        with self._lock:
            if packet[HEADER.size :] != self._filler:
                self.ledger.note_failed(number, at_s)
                self.excuse = "it answered with other bytes than were sent"
                return
            reply, gap = self.ledger.note_reply(number, at_s)
        if reply is Reply.FIRST:
            self._session.note_reply(gap)

    def _nothing_there(self) -> Refused:
        return Refused(
            what=f"cannot probe {self._target}",
            why="no service listens on that UDP port",
            todo="Start the guest's echo service, or name its port (lab guests: 7000).",
            kind=Kind.UNREACHABLE,
        )


def _age_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    """How long ago the kernel received the packet."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            received_ns = int(seconds) * 10**9 + int(nanoseconds)
            return max(0.0, (time.time_ns() - received_ns) / 1e9)
    return 0.0
