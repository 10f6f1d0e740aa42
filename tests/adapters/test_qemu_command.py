"""The launch profile: what must be true of every QEMU that an agent starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segue.adapters.qemu.command import Places, arguments
from segue.model.guest import Disk, Guest, Nic

GUEST = Guest(
    name="web1",
    uuid="8d5b0d5c-0000-4000-8000-000000000001",
    memory_bytes=256 << 20,
    kernel="/k",
    initrd="/i",
    cmdline="quiet",
    disks=(Disk("disk0", "/shared/a.qcow2", "qcow2"),),
    nics=(Nic("nic0", "52:54:00:00:00:01", "br0", "10.77.100.1/16"), Nic("nic1", "52:54:00:00:00:02", "br0")),
)
PLACES = Places(Path("/run/segue/guests/web1"))


def value(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.mark.parametrize("incoming", [False, True])
def test_no_guest_starts_by_itself(incoming: bool) -> None:
    argv = arguments(GUEST, PLACES, [10, 11], incoming=incoming)
    assert "-S" in argv
    assert "-no-shutdown" in argv
    assert ("-incoming" in argv) is incoming


def test_source_and_target_differ_in_nothing_but_incoming() -> None:
    here = arguments(GUEST, PLACES, [10, 11], incoming=False)
    there = arguments(GUEST, PLACES, [10, 11], incoming=True)
    assert there == [*here, "-incoming", "defer"]


def test_the_profile() -> None:
    argv = arguments(GUEST, PLACES, [10, 11], incoming=False)
    assert "pc-q35-10.0" in value(argv, "-machine")
    assert "memory-backend=ram0" in value(argv, "-machine")
    assert "memory-backend-memfd" in value(argv, "-object")
    assert "share=on" in value(argv, "-object")
    assert value(argv, "-sandbox").startswith("on,")
    assert value(argv, "-cpu") == "Nehalem"


def test_disks_have_stable_names_locks_and_no_host_cache() -> None:
    argv = arguments(GUEST, PLACES, [10, 11], incoming=False)
    file, node = (json.loads(argv[i + 1]) for i, word in enumerate(argv) if word == "-blockdev")
    assert (file["node-name"], node["node-name"]) == ("disk0-file", "disk0")
    assert file["locking"] == "on"
    assert file["cache"]["direct"] is True
    assert node["driver"] == "qcow2"


def test_the_address_reaches_the_kernel_only_where_there_is_one() -> None:
    line = value(arguments(GUEST, PLACES, [10, 11], incoming=False), "-append")
    assert line == "quiet ip=10.77.100.1:::255.255.0.0:web1:eth0:off"


def test_each_card_needs_its_tap() -> None:
    with pytest.raises(ValueError, match="zip"):
        arguments(GUEST, PLACES, [10], incoming=False)


def test_cards_have_their_addresses_in_the_order_of_the_cards() -> None:
    cards = (
        Nic("nic0", "52:54:00:00:00:01", "br0", "10.77.100.1/16", "fd77::1/64"),
        Nic("nic1", "52:54:00:00:00:02", network="blue", address6="fd99::1/48", mtu=1450),
    )
    argv = arguments(replace(GUEST, nics=cards), PLACES, [10, 11], incoming=False)
    assert value(argv, "-append").split()[1:] == [
        "ip=10.77.100.1:::255.255.0.0:web1:eth0:off",
        "ip=[fd77::1]:::64:web1:eth0:off",
        "ip=[fd99::1]:::48:web1:eth1:off",
    ]
    devices = [word for word in argv if word.startswith("virtio-net-pci")]
    assert ["host_mtu=1450" in device for device in devices] == [False, True]
