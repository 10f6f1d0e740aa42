"""A guest is let onto a host only where every single thing fits, and all that does not fit is said at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.errors import Kind, Refused
from segue.model.application import Application
from segue.model.guest import Disk, Guest, Nic, application
from segue.model.host import HostFacts
from segue.model.network import NetworkFacts
from segue.policy import compatibility
from segue.policy.compatibility import Already, between, obstacles, version

GIB = 1 << 30
GUEST = Guest(
    name="web1",
    uuid="5a3f",
    memory_bytes=GIB,
    disks=(Disk("disk0", "/srv/web1.qcow2", "qcow2"),),
    nics=(Nic("nic0", "52:54:00:00:00:01", "br0"),),
)
HOST = HostFacts(
    name="host2",
    instance="i2",
    segue_version="0.1.0",
    wire_version=1,
    qemu_version="10.0.13",
    accelerator="tcg",
    machines=("pc-q35-9.2", "pc-q35-10.0"),
    cpu_models={"Nehalem": (), "Haswell": ("tsc-deadline", "invpcid")},
    memory_total_bytes=4 * GIB,
    memory_free_bytes=2 * GIB,
    cpus=2,
    bridges=("br0",),
    guests=(),
    kernel="6.12",
)
SOURCE = replace(HOST, name="host1", instance="i1")
NOTHING = Already()
BLUE = replace(GUEST, nics=(Nic("nic0", "52:54:00:00:00:01", network="blue", mtu=1450),))
TAGGED = replace(GUEST, nics=(Nic("nic0", "52:54:00:00:00:01", "br0", vlan=20),))
WITH_BLUE = replace(HOST, bridges=("br0", "ov-blue"), networks={"blue": NetworkFacts("ov-blue", 1450, 77)})
NARROW = replace(WITH_BLUE, networks={"blue": NetworkFacts("ov-blue", 1400, 77)})
MISFITS = [
    (HOST, BLUE, NOTHING, "it has no network blue"),
    (NARROW, BLUE, NOTHING, "its network blue carries 1400 bytes in a frame, nic0 sends 1450"),
    (HOST, TAGGED, NOTHING, "its bridge br0 does not filter VLANs, and nic0 is in one"),
    (replace(HOST, qemu_version="9.2.4"), GUEST, NOTHING, "its QEMU is 9.2.4, 10.0 or newer is needed"),
    (replace(HOST, accelerator="kvm"), GUEST, NOTHING, "it runs guests by kvm, this one was started by tcg"),
    (HOST, replace(GUEST, machine="pc-q35-11.0"), NOTHING, "has no machine type pc-q35-11.0"),
    (HOST, replace(GUEST, cpu_model="EPYC-Turin"), NOTHING, "its QEMU has no CPU model EPYC-Turin"),
    (HOST, replace(GUEST, cpu_model="Haswell"), NOTHING, "its CPU lacks invpcid, tsc-deadline"),
    (HOST, replace(GUEST, cpu_model="Haswell,+vmx"), NOTHING, "its CPU lacks invpcid, tsc-deadline"),
    (replace(HOST, memory_free_bytes=GIB // 2), GUEST, NOTHING, "it is 0.5 GiB short of memory"),
    (replace(HOST, bridges=("br1",)), GUEST, NOTHING, "it has no bridge br0"),
    (HOST, GUEST, Already(names=("web1",)), "it has a guest named web1 already"),
    (HOST, GUEST, Already(missing_files=("/srv/web1.qcow2",)), "it does not see /srv/web1.qcow2"),
]
numbers = st.integers(0, 99)
releases = st.lists(numbers, min_size=2, max_size=4).map(tuple)


def test_what_fits_fits() -> None:
    assert obstacles(GUEST, HOST, NOTHING) == ()
    assert between(GUEST, SOURCE, HOST) == ()
    compatibility.demand(GUEST, HOST, NOTHING)
    compatibility.refuse(GUEST, "host2", ())


def test_networks_that_fit() -> None:
    assert obstacles(BLUE, WITH_BLUE, NOTHING) == ()
    assert obstacles(TAGGED, replace(HOST, vlan_bridges=("br0",)), NOTHING) == ()
    assert between(BLUE, replace(WITH_BLUE, name="host1"), WITH_BLUE) == ()


def test_an_equal_name_is_not_enough() -> None:
    other = replace(WITH_BLUE, name="host1", networks={"blue": NetworkFacts("ov-blue", 1450, 78)})
    (reason,) = between(BLUE, other, WITH_BLUE)
    assert reason == "its network blue is another one than ours: VNI 77, ours is 78"


@pytest.mark.parametrize(("host", "guest", "already", "why"), MISFITS)
def test_one_thing_that_does_not_fit(host: HostFacts, guest: Guest, already: Already, why: str) -> None:
    (reason,) = obstacles(guest, host, already)
    assert why in reason


def test_all_reasons_at_once() -> None:
    poor = replace(HOST, accelerator="kvm", memory_free_bytes=0, bridges=())
    with pytest.raises(Refused) as refused:
        compatibility.demand(GUEST, poor, Already(missing_files=("/a", "/b")))
    for word in ("kvm", "1.0 GiB short", "no bridge br0", "/a", "/b"):
        assert word in refused.value.why
    assert refused.value.kind is Kind.POLICY


@given(st.integers(0, 8 * GIB), st.integers(0, 8 * GIB))
def test_room_is_there_or_it_is_not(wanted: int, free: int) -> None:
    reasons = obstacles(replace(GUEST, memory_bytes=wanted), replace(HOST, memory_free_bytes=free), NOTHING)
    assert bool(reasons) == (wanted > free)


@given(releases)
def test_only_a_qemu_that_we_know_runs_guests(release: tuple[int, ...]) -> None:
    text = ".".join(map(str, release))
    reasons = obstacles(GUEST, replace(HOST, qemu_version=text), NOTHING)
    assert bool(reasons) == (release < compatibility.QEMU_OLDEST)


@given(releases, releases)
def test_a_guest_goes_to_a_newer_qemu_and_back(here: tuple[int, ...], there: tuple[int, ...]) -> None:
    """The machine type says how the guest's devices look to it, and every QEMU that has it writes them alike."""
    source = replace(SOURCE, qemu_version=".".join(map(str, here)))
    target = replace(HOST, qemu_version=".".join(map(str, there)))
    assert between(GUEST, source, target) == ()
    bare = replace(target, machines=())
    assert any("no machine type pc-q35-10.0" in reason for reason in obstacles(GUEST, bare, NOTHING))


entries = st.dictionaries(st.sampled_from(["virtio-net", "virtio-rng", "virtio-blk"]), st.integers(1, 1024))


@given(entries, entries)
def test_a_queue_larger_than_the_target_takes_is_an_obstacle(
    mine: dict[str, int], theirs: dict[str, int]
) -> None:
    reasons = compatibility.queue_obstacles(mine, replace(HOST, queue_entries=theirs))
    larger = [device for device in mine if device in theirs and mine[device] > theirs[device]]
    assert bool(reasons) == bool(larger)
    assert all(device in reasons[0] for device in larger)


@given(st.text(max_size=12))
def test_any_text_is_some_version(text: str) -> None:
    assert all(number >= 0 for number in version(text))


@pytest.mark.parametrize(
    ("text", "numbers"), [("10.0.13", (10, 0, 13)), ("10.1.0-rc2", (10, 1)), ("", ()), ("new", ())]
)
def test_versions_as_they_are_written(text: str, numbers: tuple[int, ...]) -> None:
    assert version(text) == numbers


def test_between_two_hosts() -> None:
    (same,) = between(GUEST, HOST, HOST)
    assert same == "it is there already"


@pytest.mark.parametrize(("ours", "theirs"), [("required", "off"), ("off", "required")])
def test_channels_must_agree(ours: str, theirs: str) -> None:
    there = replace(HOST, channels=theirs, wire_versions=(1, 2))
    (reason,) = between(GUEST, replace(SOURCE, channels=ours), there)
    assert f"[tls] channels is '{theirs}'" in reason
    assert f"'{ours}' on host1" in reason


def test_an_application_needs_a_runtime_and_nothing_of_a_machine() -> None:
    app = Application("sha256:00", "redis", ("redis-server",))
    wanted = application("cache1", "u", 64 << 20, app, ())
    without = replace(HOST, machines=(), cpu_models={}, qemu_version="1.0")
    assert obstacles(wanted, without, NOTHING) == ("it runs no applications (see `segue doctor`)",)
    able = replace(without, app_runtime="crun 1.21")
    assert not obstacles(wanted, able, NOTHING)
    (short,) = obstacles(replace(wanted, memory_bytes=1 << 50), able, NOTHING)
    assert "short of memory" in short
