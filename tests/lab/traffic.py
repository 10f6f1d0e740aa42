"""What the tests of the network look with: probes anywhere in the lab, a neighbour on an overlay, a listener."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from segue.lab.api import Lab
from tests.lab.client import inside

SOURCE_PORT: Final = 7003
BUFFER_BYTES: Final = 64 << 20
# asm-generic/socket.h, linux/if_packet.h, linux/if_ether.h
SO_RCVBUFFORCE: Final = 33
SO_TIMESTAMPNS: Final = 35
TIMESPEC: Final = struct.Struct("@qq")
PACKET_OUTGOING: Final = 4
ETH_P_ALL: Final = 3
IPV6: Final = b"\x86\xdd"
OVERLAY_PORT: Final = 4789
OUTER_BYTES: Final = 50
PLUG: Final = """
ip netns add nb
ip link add nbh type veth peer name nb0 netns nb
echo 1 >/proc/sys/net/ipv6/conf/nbh/disable_ipv6
ip link set nbh master ov-blue up
ip -n nb link set nb0 address $1 mtu 1450 up
ip -n nb addr add $2/24 dev nb0
ip -n nb addr add $3/64 dev nb0 nodad
"""
NEIGHBOUR_MAC: Final = "02:73:67:09:09:09"


class Probe:
    """`segue probe` on a machine of the lab, running when it is made; `within` are words before it."""

    def __init__(
        self, lab: Lab, machine: str, *words: str, within: Sequence[str] = (), wait: bool = True
    ) -> None:
        argv = [*within, "segue", "probe", *words, "-o", "json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._process = lab.popen(machine, argv, **pipes)
        self._stopped = False
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when the first reply came."""
        errors = self._process.stderr
        assert errors is not None
        said = [errors.readline()]
        while said[-1] and not said[-1].startswith("ready"):
            said.append(errors.readline())
        assert said[-1].startswith("ready"), said

    def stop(self) -> None:
        """It sends no more, and waits for what is late."""
        self._stopped = True
        self._process.send_signal(signal.SIGINT)

    def account(self) -> dict[str, Any]:
        """Ends it, where it was not stopped yet; what it saw."""
        if not self._stopped:
            self.stop()
        out, error = self._process.communicate(timeout=60.0)
        assert out, error
        seen: dict[str, Any] = json.loads(out)
        return seen


def demand_whole(account: dict[str, Any]) -> None:
    """Something was received, and nothing is missing, twice, or wrong."""
    assert account["received"] > 0
    bad = {key: account[key] for key in ("lost", "duplicated", "failed", "broken_connections")}
    assert not any(bad.values()), (account["target"], bad)


class Neighbour:
    """A machine on the overlay `blue`, plugged into one host's bridge as any other guest of that host would be."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab, self._host = lab, host
        argv = ["sh", "-ec", PLUG, "plug", NEIGHBOUR_MAC, "10.9.0.200", "fd99::200"]
        lab.exec(host, argv, check=True)

    def probe(self, *words: str) -> Probe:
        """A probe that runs there."""
        return Probe(self._lab, self._host, *words, within=("ip", "netns", "exec", "nb"))

    def unplug(self) -> None:
        """Nothing of it stays."""
        self._lab.exec(self._host, ["ip", "netns", "del", "nb"])
        self._lab.exec(self._host, ["ip", "link", "del", "nbh"])


@dataclass(frozen=True)
class Frame:
    """One frame that was heard: when (the kernel's wall clock), on which device, and whether the host sent it."""

    at_s: float
    device: str
    outgoing: bool
    data: bytes

    @property
    def sender(self) -> str:
        """The address of the card that it comes from, inside the overlay if it travels in one."""
        raw = self.inner if self.in_overlay else self.data
        return raw[6:12].hex(":")

    @property
    def in_overlay(self) -> bool:
        """True for a VXLAN packet of an overlay network."""
        udp = self.data[12:14] == b"\x08\x00" and self.data[23] == socket.IPPROTO_UDP
        return udp and int.from_bytes(self.data[36:38]) == OVERLAY_PORT

    @property
    def inner(self) -> bytes:
        """What an overlay's packet carries."""
        return self.data[OUTER_BYTES:]


class Listener:
    """Hears every frame on a machine's devices (or one of them) from when it is made; asked afterwards."""

    def __init__(self, lab: Lab, machine: str, device: str = "") -> None:
        def make() -> socket.socket:
            kind, every = socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0 if device else socket.htons(ETH_P_ALL)
            heard = socket.socket(socket.AF_PACKET, kind, every)
            heard.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 * BUFFER_BYTES)
            heard.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if device:
                heard.bind((device, ETH_P_ALL))
            return heard

        self._socket = inside(lab, machine, make)

    def frames(self) -> list[Frame]:
        """All so far; the listening is over."""
        found: list[Frame] = []
        with self._socket:
            while True:
                try:
                    data, words, _, sender = self._socket.recvmsg(256, socket.CMSG_SPACE(TIMESPEC.size))
                except BlockingIOError:
                    return found
                found.append(Frame(_time(words), sender[0], sender[2] == PACKET_OUTGOING, data))


def _time(words: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in words:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return 0.0


class FromGuest:
    """Numbered datagrams that the guest sends by its own clock: the direction that an echo cannot tell alone."""

    def __init__(self, lab: Lab, guest: str, rate_per_s: int, seconds: int) -> None:
        self._wanted = rate_per_s * seconds

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            return made

        self._socket = inside(lab, "client1", make)
        self._socket.settimeout(45.0)
        self._socket.sendto(f"{rate_per_s} {seconds}".encode(), (guest, SOURCE_PORT))
        self._numbers = [int(self._socket.recv(64))]

    def missing_and_twice(self) -> tuple[int, int]:
        """(numbers that never came, numbers that came again), once the last is here or nothing comes any more."""
        with self._socket:
            deadline = time.monotonic() + 120.0
            while self._numbers[-1] < self._wanted - 1 and time.monotonic() < deadline:
                try:
                    self._numbers.append(int(self._socket.recv(64)))
                except TimeoutError:
                    break
        came = set(self._numbers)
        return self._wanted - len(came), len(self._numbers) - len(came)


def tcp_counters(lab: Lab, machine: str) -> dict[str, int]:
    """Retransmissions of a machine's TCP, and how many of them a timeout began."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        with open(f"/proc/{lab.host_pids(machine)[0]}/net/{file}") as lines:
            rows = [line.split() for line in lines]
        for names, values in zip(rows[::2], rows[1::2], strict=True):
            found |= {
                f"{names[0]}{name}": int(value) for name, value in zip(names[1:], values[1:], strict=True)
            }
    return {name: found[name] for name in ("Tcp:RetransSegs", "TcpExt:TCPTimeouts", "TcpExt:TCPSpuriousRTOs")}
