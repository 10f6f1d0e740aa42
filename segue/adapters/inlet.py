"""Where a host waits for what other hosts send: its address, and the ports that its firewall lets through."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from typing import Final

from segue.errors import Refused

RANGE: Final = re.compile(r"(\d{1,5})-(\d{1,5})")
LOWEST: Final = 1024
HIGHEST: Final = 65535


@dataclass(frozen=True)
class Inlet:
    """`first` 0: any free port. Else one of `first` to `last`, both included."""

    address: str
    first: int = 0
    last: int = 0

    def listen(self, port: int = 0) -> socket.socket:
        """Listens at that port, or at the lowest that is free. Raises OSError, Refused where none is."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        for chosen in (port,) if port or not self.first else range(self.first, self.last + 1):
            try:
                return socket.create_server((self.address.strip("[]"), chosen), family=family)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or chosen == port:
                    raise
        raise Refused(
            what="nothing more can be taken in on this host",
            why=f"every port of {self.first} to {self.last} is in use",
            todo="Widen transfer_ports in its agent.toml, or wait until other guests have arrived.",
        )

    def free_port(self) -> int:
        """For a program that is told where to listen, and has to be quick. Raises OSError, Refused."""
        with self.listen() as probe:
            return int(probe.getsockname()[1])


def wrong(ports: str) -> str:
    """What is wrong with a range of ports as it is written in a file; empty when nothing is."""
    found = RANGE.fullmatch(ports)
    if not ports or (found and LOWEST <= int(found[1]) <= int(found[2]) <= HIGHEST):
        return ""
    return f"{ports!r} is not FIRST-LAST, two ports of {LOWEST} to {HIGHEST} such as 49152-49407"


def of(address: str, ports: str) -> Inlet:
    """The range must be right, or empty."""
    found = RANGE.fullmatch(ports)
    return Inlet(address, int(found[1]), int(found[2])) if found else Inlet(address)
