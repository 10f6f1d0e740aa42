"""What a planner refuses an agent refuses too; what only an agent can see is left to it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.guest import Guest, Nic
from segue.model.host import HostFacts
from segue.model.network import NetworkFacts
from segue.policy import compatibility, fit, roster
from segue.policy.compatibility import Already

GIB = 1 << 30
MODELS = ("Nehalem", "Haswell", "EPYC")

specs = st.builds(
    Guest,
    name=st.just("g"),
    uuid=st.just("u"),
    memory_bytes=st.integers(1, 8).map(lambda gib: gib * GIB),
    cpu_model=st.sampled_from(["Nehalem", "Haswell,+vmx", "EPYC"]),
    machine=st.sampled_from(["pc-q35-9.2", "pc-q35-10.0"]),
    accelerator=st.sampled_from(["tcg", "kvm"]),
    nics=st.lists(
        st.sampled_from([Nic("n0", "m", "br0"), Nic("n1", "m", "br1"), Nic("n2", "m", network="blue")]),
        max_size=2,
    ).map(tuple),
)
facts = st.builds(
    HostFacts,
    name=st.just("h"),
    instance=st.just("i"),
    segue_version=st.just("0.1.0"),
    wire_version=st.just(1),
    qemu_version=st.just("10.0.13"),
    accelerator=st.sampled_from(["tcg", "kvm"]),
    machines=st.sampled_from([("pc-q35-10.0",), ("pc-q35-9.2", "pc-q35-10.0")]),
    cpu_models=st.dictionaries(st.sampled_from(MODELS), st.sampled_from([(), ("avx2",)]), min_size=1),
    memory_total_bytes=st.just(9 * GIB),
    memory_free_bytes=st.integers(1, 8).map(lambda gib: gib * GIB),
    cpus=st.just(8),
    bridges=st.sampled_from([("br0",), ("br0", "br1", "ov")]),
    guests=st.just(()),
    kernel=st.just("6.12"),
    networks=st.just(dict[str, NetworkFacts]()),
)


@given(specs, facts, st.booleans())
def test_both_refuse_the_same_guests(spec: Guest, here: HostFacts, blue: bool) -> None:
    if blue and "ov" in here.bridges:
        here = replace(here, networks={"blue": NetworkFacts("ov", 1500, 7)})
    there = roster.host(here, here.memory_total_bytes - here.memory_free_bytes, 1e9, {"rack": "r1"})
    known = roster.guest(spec, "", {})
    ours = (*fit.obstacles(known, there), *fit.shortages(known.needs, fit.room(there)))
    theirs = compatibility.obstacles(spec, here, Already())
    assert bool(ours) == bool(theirs), (ours, theirs)
