"""A guest that ends or hangs while it is looked at is refused with words, and is no error that nobody foresaw."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuGone
from segue.agent import foresight
from segue.errors import Kind, Refused


@dataclass
class Dying:
    """A monitor whose QEMU ends, or stops, in the middle of the measurement."""

    error: Exception
    asked: list[str] = field(default_factory=list)

    async def execute(self, command: str, **_: Any) -> Any:
        self.asked.append(command)
        if command == "query-dirty-rate":
            raise self.error
        return {}


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (QemuGone("QEMU hung up during query-dirty-rate"), Kind.CONFLICT, "it ended while it was looked at"),
        (TimeoutError("QEMU did not answer query-dirty-rate within 10 s"), Kind.TIMEOUT, "does not answer"),
    ],
)
async def test_what_ends_or_hangs_while_it_is_measured(error: Exception, kind: Kind, words: str) -> None:
    machine = SimpleNamespace(monitor=Dying(error), guest=SimpleNamespace(name="web1"))
    speed = asyncio.create_task(asyncio.sleep(0, 1e9))
    with pytest.raises(Refused, match=words) as refused:
        await foresight._writes(cast(Machine, machine), speed)
    assert refused.value.kind is kind
    assert "segue incident list --guest web1" in refused.value.todo


@dataclass
class Writing:
    """A monitor that measures, each time, the next of these rates (MiB/s)."""

    rates: list[int]

    async def execute(self, command: str, **_: Any) -> Any:
        return (
            {"status": "measured", "dirty-rate": self.rates.pop(0)} if command == "query-dirty-rate" else {}
        )


@pytest.mark.parametrize(
    ("rate", "path", "spans"),
    [(4, 1e8, [0.15]), (4, 2e7, [0.15, 0.45]), (30, 1e10, [0.15, 0.45])],
)
async def test_only_a_guest_that_the_path_may_not_take_easily_is_looked_at_twice(
    rate: int, path: float, spans: list[float]
) -> None:
    machine = SimpleNamespace(monitor=Writing([rate, rate]), guest=SimpleNamespace(name="web1"))
    speed = asyncio.create_task(asyncio.sleep(0, path))
    seen = await foresight._writes(cast(Machine, machine), speed)
    assert seen == tuple((span, rate * float(1 << 20)) for span in spans)
