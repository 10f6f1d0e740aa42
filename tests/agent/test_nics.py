"""Cards that cannot be meant are refused, all that is wrong at once."""

from __future__ import annotations

import pytest

from segue.agent import nics
from segue.wire.frames import CreateGuest, NicWish


def found(*cards: NicWish, address: str = "") -> str:
    return "; ".join(nics.problems(CreateGuest("web1", "micro", address=address, nics=cards)))


def test_what_can_be_meant() -> None:
    assert not found()
    assert not found(address="10.77.100.1/16")
    assert not found(address="fd77::1/64")
    assert not found(NicWish(), NicWish(network="blue", address="10.9.0.1/24", address6="fd99::1/64", vlan=7))


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (NicWish(mac="52:54:00:00:00"), "no address of one card"),
        (NicWish(mac="01:54:00:00:00:01"), "no address of one card"),
        (NicWish(address="10.9.0.1"), "no IPv4 address with prefix"),
        (NicWish(address="fd99::1/64"), "no IPv4 address"),
        (NicWish(address6="10.9.0.1/24"), "no IPv6 address"),
        (NicWish(vlan=4095), "VLAN 4095"),
        (NicWish(vlan=5, trunk=(5, 6)), "both tagged and untagged"),
        (NicWish(mtu=100), "an MTU"),
        (NicWish(network="blue", bridge="br0"), "either on a bridge or on a network"),
    ],
)
def test_one_thing_that_is_wrong(card: NicWish, why: str) -> None:
    assert why in found(card)


def test_several_cards() -> None:
    same = NicWish(mac="52:54:00:00:00:01")
    assert "another card" in found(same, same)
    assert "belongs to one of them" in found(NicWish(), address="10.9.0.1/24")
    assert "at most 8" in found(*[NicWish()] * 9)
