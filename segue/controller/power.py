"""Which BMC each host has, by a file beside the controller's keys. It gives and takes no power by itself.

The passwords stay in that folder: who reads the store, or a backup of it, must not be able to switch hosts off.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

from segue.adapters.fence import push
from segue.adapters.fence.firmware import Firmware
from segue.adapters.fence.redfish import Redfish
from segue.adapters.fence.sensors import Sensors
from segue.errors import Kind, Refused
from segue.model.fencing import Bmc
from segue.model.firmware import Image

FILE: Final = "bmc.toml"
IMAGES: Final = "firmware"
"""The folder beside it in which images lie: no order lets the controller read other files."""


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One table of the file, named after its host. password_file, ca: from the file's folder, if not absolute."""

    url: str
    user: str
    password_file: str
    system: str = ""
    ca: str = ""
    insecure: bool = False
    fence: bool = True
    """The controller may switch the host off by itself to save its guests."""


class Powers:
    """Read anew each time: credentials that were corrected count at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Without a folder no host has a BMC, and hosts that are lost are nobody's business here."""
        self._folder = folder

    @property
    def watched(self) -> bool:
        """True where lost hosts are looked after."""
        return self._folder is not None

    def may_fence(self, host: str) -> bool:
        """By the file. Raises Refused where it says nothing of the host."""
        return self._entry(host).fence

    def of(self, host: str) -> Redfish:
        """Its BMC. Raises Refused where there is none, or the file cannot be read."""
        return Redfish(host, self.bmc(host))

    def hosts(self) -> frozenset[str] | None:
        """All that have one, by the file; None where it cannot be read: then nobody knows."""
        if self._folder is None:
            return frozenset()
        try:
            return frozenset(tomllib.loads((self._folder / FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError):
            return None

    def sensors(self, host: str) -> Sensors:
        """What its BMC sees of its parts; the same."""
        return Sensors(host, self.bmc(host))

    def firmware(self, host: str) -> Firmware:
        """The same, for the firmware of its parts."""
        return Firmware(host, self.bmc(host))

    def image(self, name: str) -> Image:
        """A file of firmware as it lies here; reads all of it. Raises Refused: it cannot be pushed."""
        return push.look((self._folder or Path("/nowhere")) / IMAGES, name)

    def bmc(self, host: str) -> Bmc:
        """How it is reached; the same."""
        entry = self._entry(host)
        assert self._folder is not None
        try:
            password = (self._folder / entry.password_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise _refused(host, f"its BMC's password cannot be read: {error}") from error
        ca = str(self._folder / entry.ca) if entry.ca else ""
        return Bmc(entry.url, entry.user, password, entry.system, ca, entry.insecure)

    def _entry(self, host: str) -> Entry:
        path = (self._folder or Path("/nowhere")) / FILE
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8")).get(host)
            if found is not None:
                return msgspec.convert(found, Entry)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, msgspec.ValidationError) as error:
            raise _refused(host, f"{path} cannot be used: {error}") from error
        raise _refused(host, f"no BMC is known: {path} has no table [{host}]")


def _refused(host: str, why: str) -> Refused:
    return Refused(
        what=f"the power of {host} cannot be switched",
        why=why,
        todo=f"Mend {FILE} in the controller's folder; `segue host power {host} status` tries it.",
        kind=Kind.NOT_FOUND,
    )
