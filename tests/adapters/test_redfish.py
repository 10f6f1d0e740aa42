"""The real Redfish client against a real Redfish emulator: OFF is said only by one that says so for a while."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.adapters.fence import redfish
from segue.adapters.fence.redfish import Redfish
from segue.errors import Kind, Refused
from segue.lab import bmc
from segue.model.fencing import Bmc, Power

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

    def client(self, password: str = PASSWORD, system: str = "") -> Redfish:
        return Redfish("host1", Bmc(f"http://127.0.0.1:{self.port}", bmc.USER, password, system))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.process.send_signal(signal.SIGCONT)
    made.process.kill()
    made.process.wait()


async def test_power_is_taken_and_given(machine: Machine) -> None:
    client = machine.client()
    assert await client.power() is Power.ON
    begun_s = time.monotonic()
    assert await client.off(within_s=10) is Power.OFF
    assert time.monotonic() - begun_s >= redfish.STEADY_S
    assert not (machine.folder / "on").exists()
    assert await client.off(within_s=10) is Power.OFF
    assert await client.on(within_s=10) is Power.ON
    assert (machine.folder / "on").exists()
    assert await machine.client(system=UUID).power() is Power.ON


async def test_a_host_that_stays_on_or_comes_back_is_never_called_off(machine: Machine) -> None:
    (machine.folder / "sticks").touch()
    assert await machine.client().off(within_s=3) is Power.ON
    (machine.folder / "on").unlink()

    async def comes_back() -> None:
        await asyncio.sleep(1)
        (machine.folder / "on").touch()

    back = asyncio.create_task(comes_back())
    assert await machine.client().off(within_s=4) is Power.ON
    await back


async def test_wrong_credentials_and_systems_are_said(machine: Machine) -> None:
    with pytest.raises(Refused) as refused:
        await machine.client(password="another").off(within_s=3)
    assert refused.value.kind is Kind.AUTH
    with pytest.raises(Refused, match="http"):
        await machine.client(system="another").power()
    assert (machine.folder / "on").exists()


async def test_a_broken_one_and_a_dead_one_say_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.folder / "broken").touch()
    with pytest.raises(Refused) as refused:
        await machine.client().off(within_s=3)
    assert refused.value.kind is Kind.UNREACHABLE
    monkeypatch.setattr(redfish, "READ_S", 0.5)
    (machine.folder / "slow").write_text("2")
    with pytest.raises(Refused, match=r"does not answer|timed out|Unable to connect"):
        await machine.client().power()
    machine.process.kill()
    machine.process.wait()
    with pytest.raises(Refused) as refused:
        await machine.client().power()
    assert refused.value.kind is Kind.UNREACHABLE
