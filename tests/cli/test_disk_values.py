"""Disks as people write them."""

from __future__ import annotations

import pytest

from segue.cli import values
from segue.errors import Refused


def test_a_disk_has_a_size_and_may_have_more() -> None:
    assert values.disk("size=1GiB") == {"size_bytes": 1 << 30, "format": "qcow2", "storage": "shared"}
    assert values.disk("size=64M,format=raw,storage=local")["format"] == "raw"


@pytest.mark.parametrize("text", ["", "1GiB", "size=1GiB,colour=red", "size=1GiB,format=vmdk", "size=x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        values.disk(text)


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (9, "9s"), (552, "9m 12s"), (7260, "2h 1m")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert values.show_duration(seconds) == text
