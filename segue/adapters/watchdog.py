"""A machine's watchdog (Documentation/watchdog/watchdog-api.rst): it resets the machine when nobody feeds it.

Any other file takes the same bytes: in the lab somebody outside watches it, and takes the machine's power away. Whoever
closes it without `disarm`, by its death for one, leaves it running.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from typing import Final

SET_TIMEOUT: Final = 0xC0045706
"""WDIOC_SETTIMEOUT: whole seconds; what the device made of them comes back."""
FOOD: Final = b"1"
DISARM: Final = b"V"
"""The magic close; a device that was told never to stop (nowayout) ignores it."""


class Watchdog:
    """Armed from the moment at which it is opened."""

    def __init__(self, path: str, seconds: float) -> None:
        """Raises OSError where there is none, where somebody else has it, or where it takes a longer time only."""
        self._is_device = stat.S_ISCHR(os.stat(path).st_mode) if os.path.exists(path) else False
        if path.startswith("/dev/") and not self._is_device:
            raise OSError(f"{path} is no watchdog")
        flags = os.O_WRONLY | os.O_CLOEXEC | (0 if self._is_device else os.O_CREAT)
        self._file = os.open(path, flags, 0o600)
        if self._is_device:
            (taken,) = struct.unpack(
                "i", fcntl.ioctl(self._file, SET_TIMEOUT, struct.pack("i", int(seconds)))
            )
            if not 0 < taken <= seconds:
                self.disarm()
                raise OSError(f"{path} takes {taken} s at least, and {seconds:g} s were asked for")
        self.feed()

    def feed(self) -> None:
        """Once more its whole time."""
        if self._is_device:
            os.write(self._file, FOOD)
        else:
            os.pwrite(self._file, FOOD, 0)

    def disarm(self) -> None:
        """It stops, and is closed."""
        if self._is_device:
            os.write(self._file, DISARM)
        else:
            os.pwrite(self._file, DISARM, 0)
        os.close(self._file)
