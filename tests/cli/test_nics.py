"""`--nic` means what it says, or is refused with what is wrong."""

from __future__ import annotations

import pytest

from segue.cli import nics
from segue.errors import Refused


def test_a_card() -> None:
    text = "network=blue,address=10.9.0.1/24,address=fd99::1/64,mac=52:54:00:00:00:01,mtu=1400"
    assert nics.wish(text) == {
        "network": "blue",
        "address": "10.9.0.1/24",
        "address6": "fd99::1/64",
        "mac": "52:54:00:00:00:01",
        "mtu": 1400,
    }
    assert nics.wish("bridge=br0,vlan=10,trunk=20+30-32") == {
        "bridge": "br0",
        "vlan": 10,
        "trunk": [20, 30, 31, 32],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("blue", "not KEY=VALUE"),
        ("network=", "not KEY=VALUE"),
        ("net=blue", "there is no net"),
        ("vlan=ten", "no number"),
        ("trunk=1-9999", "more VLANs"),
        ("address=10.0.0.1/8,address=10.0.0.2/8", "twice"),
    ],
)
def test_what_is_no_card(text: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        nics.wish(text)
    assert why in refused.value.why
