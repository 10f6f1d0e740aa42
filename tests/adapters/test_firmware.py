"""SimpleUpdate by the real client at a real emulator: followed by its task, and never begun where it cannot be done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.errors import Kind, Refused
from segue.model.firmware import Flash, FlashState
from tests.adapters.emulated import Machine

IMAGE = "http://files.example/bios-1.1.0.bin"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.end()


async def until_ended(machine: Machine, task: str) -> list[Flash]:
    seen = [await machine.firmware().look(task)]
    while seen[-1].state in {FlashState.RUNNING, FlashState.WAITS} and len(seen) < 200:
        await asyncio.sleep(0.05)
        seen.append(await machine.firmware().look(task))
    return seen


async def test_it_is_followed_to_its_end_and_then_has_the_version(machine: Machine) -> None:
    hands = machine.firmware()
    machine.has(update_s=0.5)
    assert await hands.version("") == "1.0.0"
    seen = await until_ended(machine, await hands.begin(IMAGE, ""))
    assert seen[-1].state is FlashState.DONE
    assert [flash.percent for flash in seen] == sorted(flash.percent for flash in seen)
    assert any(0 < flash.percent < 100 for flash in seen)
    assert await hands.version("") == "1.1.0"


async def test_one_that_is_staged_waits_for_power(machine: Machine) -> None:
    hands = machine.firmware()
    machine.has(update_s=0.0, staged=True)
    task = await hands.begin(IMAGE, "")
    assert (await hands.look(task)).state is FlashState.WAITS
    assert await hands.version("") == "1.0.0"
    await machine.client().off(within_s=10)
    await machine.client().on(within_s=10)
    assert (await hands.look(task)).state is FlashState.DONE
    assert await hands.version("") == "1.1.0"


async def test_one_that_breaks_says_why_and_nothing_is_new(machine: Machine) -> None:
    machine.has(update_s=0.0, breaks="the image's signature is wrong")
    task = await machine.firmware().begin(IMAGE, "")
    seen = await machine.firmware().look(task)
    assert (seen.state, seen.text) == (FlashState.FAILED, "the image's signature is wrong")
    assert await machine.firmware().version("") == "1.0.0"
    assert (await machine.firmware().look(f"{task}0")).state is FlashState.GONE


async def test_a_part_that_it_does_not_know_is_refused(machine: Machine) -> None:
    with pytest.raises(Refused, match=r"no version of .NIC\.1.") as refused:
        await machine.firmware().version("NIC.1")
    assert refused.value.kind is Kind.NOT_FOUND
