"""A guest that ends or hangs while it is looked at is refused with words, and is no error that nobody foresaw."""

from __future__ import annotations

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
    with pytest.raises(Refused, match=words) as refused:
        await foresight._writes(cast(Machine, machine))
    assert refused.value.kind is kind
    assert "segue incident list --guest web1" in refused.value.todo
