"""What changed on a host, and whether its guests could live there still."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.fleet import Amounts, FleetGuest, FleetHost, Taint
from segue.model.job import Inventory
from segue.policy import inventory

BEFORE = Inventory(
    "boot1", "6.12.1", "10.0.2", "Debian 13.1", "0x1", "Xeon", ("aes", "avx2", "hle"), "1.2", 16, 64 << 30,
    {"Haswell": ()}, ("pc-q35-9.2", "pc-q35-10.0"),
)  # fmt: skip


def test_a_reboot_alone_is_no_change() -> None:
    assert inventory.changes(BEFORE, replace(BEFORE, boot="boot2", memory_bytes=(64 << 30) - (1 << 20))) == ()


def test_every_change_has_its_line_and_losses_are_among_them() -> None:
    after = replace(
        BEFORE, kernel="6.12.9", microcode="0x2", cpu_flags=("aes", "avx2", "md-clear"), firmware="1.3",
        machines=("pc-q35-10.0",), cpu_models={"Haswell": ("hle",)}, cpus=8, memory_bytes=32 << 30,
    )  # fmt: skip
    told = inventory.changes(BEFORE, after)
    for line in (
        "kernel: 6.12.1 -> 6.12.9", "microcode: 0x1 -> 0x2", "firmware: 1.2 -> 1.3", "new CPU flags: md-clear",
        "CPU flags that are gone: hle", "machine types that are gone: pc-q35-9.2",
        "CPU model Haswell lacks now: hle", "processors: 16 -> 8",
    ):  # fmt: skip
        assert line in told
    assert set(inventory.losses(BEFORE, after)) < set(told)
    assert len(inventory.losses(BEFORE, after)) == 5


def test_a_guest_that_needs_what_is_gone_does_not_come_back() -> None:
    host = FleetHost("h", 1, 1, taints=(Taint("health"),), cpu_models={"Haswell": ("hle",), "Nehalem": ()})
    guests = [
        FleetGuest("a", Amounts(), cpu_model="Haswell"),
        FleetGuest("b", Amounts(), cpu_model="Nehalem"),
    ]
    assert inventory.unfit(guests, host) == {"a": "lacks hle"}


models = st.dictionaries(
    st.sampled_from(["qemu64", "Haswell", "Skylake"]), st.lists(st.sampled_from("ab"), max_size=1).map(tuple)
)


@given(st.lists(models))
def test_a_guest_of_the_baseline_can_live_on_every_host(hosts: list[dict[str, tuple[str, ...]]]) -> None:
    for model in inventory.baseline(hosts):
        assert all(host[model] == () for host in hosts if host)


@given(st.lists(models), models.filter(bool))
def test_another_host_never_makes_the_baseline_larger(
    hosts: list[dict[str, tuple[str, ...]]], more: dict[str, tuple[str, ...]]
) -> None:
    before = inventory.baseline(hosts)
    if any(hosts):
        assert set(inventory.baseline([*hosts, more])) <= set(before)


def test_a_host_that_comes_back_with_less_changes_what_new_guests_may_be_promised() -> None:
    whole = Inventory("b", "k", "q", cpu_models={"qemu64": (), "Skylake": ()})
    less = replace(whole, cpu_models={"qemu64": (), "Skylake": ("avx512f",)})
    others = [{"qemu64": (), "Skylake": ()}]
    assert inventory.baseline_changes(whole, whole, others) == ()
    (gone,) = inventory.baseline_changes(whole, less, others)
    assert "Skylake" in gone
    (back,) = inventory.baseline_changes(less, whole, others)
    assert "every host has now" in back
