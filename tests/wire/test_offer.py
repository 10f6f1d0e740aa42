"""Two agents agree on the highest version that both speak, and say what it cannot do before anything is begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.errors import Kind, Refused
from segue.model.host import HostFacts
from segue.model.landing import Placement
from segue.model.migration import Migration
from segue.wire import offer
from segue.wire.offer import Feature

HOST = HostFacts(
    name="host2",
    instance="i2",
    segue_version="0.2.0",
    wire_version=offer.OLDEST,
    qemu_version="10.0.13",
    accelerator="tcg",
    machines=("pc-q35-10.0",),
    cpu_models={"Nehalem": ()},
    memory_total_bytes=1 << 32,
    memory_free_bytes=1 << 31,
    cpus=2,
    bridges=("br0",),
    guests=(),
    kernel="6.12",
    wire_versions=(offer.OLDEST, offer.NEWEST),
)
BEFORE = replace(HOST, name="host1", wire_version=1, wire_versions=None)
ranges = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: (min(pair), max(pair)))


@dataclass(frozen=True)
class FactsBefore:
    """What an agent of wire version 1 reads of a host."""

    name: str
    wire_version: int
    kernel: str


def test_an_agent_of_before_reads_our_facts_and_we_read_its() -> None:
    read = msgspec.json.decode(msgspec.json.encode(HOST), type=FactsBefore)
    assert read == FactsBefore("host2", 1, "6.12")
    theirs = {key: value for key, value in asdict(BEFORE).items() if key != "wire_versions"}
    assert msgspec.json.decode(msgspec.json.encode(theirs), type=HostFacts) == BEFORE


@given(ranges, ranges)
def test_the_highest_version_of_both_is_spoken(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    here, there = replace(BEFORE, wire_versions=ours), replace(HOST, wire_versions=theirs)
    shared = set(range(ours[0], ours[1] + 1)) & set(range(theirs[0], theirs[1] + 1))
    assert offer.common(here, there) == offer.common(there, here) == max(shared, default=0)
    assert bool(offer.obstacles(here, there)) == (not shared)


@pytest.mark.parametrize("feature", Feature)
def test_what_the_version_before_cannot_do_is_said_with_the_host_that_is_behind(feature: Feature) -> None:
    (there,) = offer.obstacles(HOST, BEFORE, [feature])
    (here,) = offer.obstacles(BEFORE, HOST, [feature])
    assert f"its agent speaks wire version 1, which cannot {feature}" in there
    assert f"the agent of host1 speaks wire version 1, which cannot {feature}" in here
    assert offer.obstacles(HOST, HOST, [feature]) == ()
    with pytest.raises(Refused, match=str(feature)) as refused:
        offer.demand(feature, 1)
    assert refused.value.kind is Kind.POLICY
    offer.demand(feature, offer.NEWEST)


def test_where_channels_must_be_encrypted_nothing_older_is_offered() -> None:
    strict = replace(HOST, wire_version=2, wire_versions=offer.offered(encrypted=True))
    assert offer.common(strict, BEFORE) == 0
    (reason,) = offer.obstacles(strict, BEFORE, [Feature.MEMORY_TLS])
    assert "wire version 1, which cannot encrypt memory" in reason
    assert 'channels = "off"' in reason
    assert offer.common(replace(HOST, wire_versions=offer.offered(encrypted=False)), BEFORE) == 1


def test_every_feature_has_a_version_that_we_speak() -> None:
    assert set(offer.LEAST) == set(Feature)
    assert all(offer.OLDEST < version <= offer.NEWEST for version in offer.LEAST.values())


def test_records_and_frames_of_before_are_of_version_1() -> None:
    record = b'{"id":"m","guest":"g","source":"a","target":"b","limits":{},"started_s":1.0}'
    assert msgspec.json.decode(record, type=Migration).wire == 1
    frame = (
        b'{"guest":{"name":"g","uuid":"u","memory_bytes":1},"epoch":1,"migration":"m",'
        b'"source":"a","tunnel_id":7}'
    )
    assert msgspec.json.decode(frame, type=Placement).wire == 1
