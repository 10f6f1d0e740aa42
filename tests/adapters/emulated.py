"""A BMC in a process of its own: the emulator as the lab has it, with a host that consists of files."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from segue.adapters.fence.firmware import Firmware
from segue.adapters.fence.redfish import Redfish
from segue.lab import bmc
from segue.lab.bmc_hardware import Hardware
from segue.model.fencing import Bmc

UUID: Final = "5a3f0000-0000-4000-8000-000000000001"
PASSWORD: Final = "a word"
SERVE: Final = """
import sys, time
from pathlib import Path
from segue.lab import bmc
folder, port, uuid = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
class Plug:
    '''The files `on` and `sticks` are the host; `slow`: so many seconds for each answer.'''
    def is_on(self):
        time.sleep(float((folder / 'slow').read_text()))
        return (folder / 'on').exists()
    def switch(self, *, on):
        if (folder / 'broken').exists():
            raise RuntimeError('the relay is stuck')
        if (folder / 'sticks').exists():
            return
        (folder / 'on').touch() if on else (folder / 'on').unlink(missing_ok=True)
    def ask_off(self):
        if not (folder / 'deaf').exists():
            self.switch(on=False)
door = bmc.Door('127.0.0.1', port, folder / 'users')
bmc.server('host1', uuid, door, Plug()).serve_forever()
"""


class Machine:
    """A BMC with its host: files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "on").touch()
        (folder / "slow").write_text("0")
        bmc.write_password(folder / "users", bmc.USER, PASSWORD)
        self.hardware = Hardware(folder / "host1.hardware.json")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder), str(self.port), UUID], stderr=subprocess.DEVNULL
        )
        until_s = time.monotonic() + 30
        while not self._listens():
            assert time.monotonic() < until_s, "the emulator does not listen"
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bmc(self, password: str = PASSWORD, system: str = "") -> Bmc:
        return Bmc(self.url, bmc.USER, password, system)

    def client(self, password: str = PASSWORD, system: str = "") -> Redfish:
        return Redfish("host1", self.bmc(password, system))

    def firmware(self) -> Firmware:
        return Firmware("host1", self.bmc())

    def has(self, **parts: Any) -> None:
        """From now on its hardware is so."""
        self.hardware.write({**self.hardware.read(), **parts})

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
