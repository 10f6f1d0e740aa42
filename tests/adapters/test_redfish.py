"""The real Redfish client against a real Redfish emulator: OFF is said only by one that says so for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.adapters.fence import bmc as bmc_line
from segue.adapters.fence import redfish
from segue.errors import Kind, Refused
from segue.model.fencing import Power
from tests.adapters.emulated import UUID, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.end()


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


async def test_the_button_is_only_pressed_and_who_does_not_hear_it_stays_on(machine: Machine) -> None:
    (machine.folder / "deaf").touch()
    await machine.client().ask_off()
    assert await machine.client().power() is Power.ON
    (machine.folder / "deaf").unlink()
    await machine.client().ask_off()
    assert await machine.client().power() is Power.OFF
    await machine.client().ask_off()


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
    monkeypatch.setattr(bmc_line, "READ_S", 0.5)
    (machine.folder / "slow").write_text("2")
    with pytest.raises(Refused, match=r"does not answer|timed out|Unable to connect"):
        await machine.client().power()
    monkeypatch.setattr(bmc_line, "READ_S", 10.0)
    monkeypatch.setattr(redfish, "ANSWER_S", 0.3)
    with pytest.raises(Refused, match=r"not come to an end within 0\.3 s"):
        await machine.client().power()
    monkeypatch.setattr(redfish, "ANSWER_S", 45.0)
    (machine.folder / "slow").unlink()
    machine.process.kill()
    machine.process.wait()
    with pytest.raises(Refused) as refused:
        await machine.client().power()
    assert refused.value.kind is Kind.UNREACHABLE
