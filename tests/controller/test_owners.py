"""Whose guest it is, by what hosts have reported: the highest epoch, but not that of a host that was revoked."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from segue.controller import fleet, successions
from segue.controller.mirror import Mirror
from segue.model.fencing import Death, Proof, ProofKind
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.roster import HostRecord, HostReport
from segue.model.store import Entry
from segue.wire.frames import Shown

FACTS = HostFacts(
    name="host3", instance="i", segue_version="0", wire_version=2, qemu_version="10.0", accelerator="tcg",
    machines=(), cpu_models={}, memory_total_bytes=1, memory_free_bytes=1, cpus=1, bridges=(), guests=(), kernel="6",
)  # fmt: skip
SPEC = Guest("web1", "00000000-0000-4000-8000-000000000001", 1 << 30)


def reported(mirror: Mirror, host: str, epoch: int, phase: str = "owner", peer: str = "") -> None:
    spec: Guest = SPEC
    shown = Shown(spec.name, host, "running", phase, epoch, spec, peer=peer)
    key = f"guests/{host}/{spec.uuid}"
    mirror.guests.put(key, Entry(key, msgspec.json.encode(shown), 1))


def revoke(mirror: Mirror, host: str) -> None:
    key = f"hosts/{host}"
    mirror.hosts.put(key, Entry(key, msgspec.json.encode(HostRecord(host, revoked=True)), 2))


def test_a_guest_that_goes_on_at_a_lower_epoch_after_a_revocation_is_known_where_it_runs() -> None:
    """host1 was lost, host3 took the guest over and was lost for good, host1 came back and goes on. Else nobody would
    miss the guest when host1 dies, and a drain would find host1 empty."""
    mirror = Mirror(cast(Any, None))
    reported(mirror, "host1", 1)
    reported(mirror, "host3", 4)
    assert fleet.owners(mirror)[SPEC.name].host == "host3"
    revoke(mirror, "host3")
    assert fleet.owners(mirror)[SPEC.name].host == "host1"
    assert [shown.name for shown in successions.missed(mirror, "host1")] == [SPEC.name]
    assert successions.missed(mirror, "host3") == []


def test_what_only_a_revoked_host_had_is_still_its_and_missed() -> None:
    mirror = Mirror(cast(Any, None))
    reported(mirror, "host3", 4)
    revoke(mirror, "host3")
    assert fleet.owners(mirror)[SPEC.name].host == "host3"
    assert [shown.name for shown in successions.missed(mirror, "host3")] == [SPEC.name]


def test_what_was_given_to_a_host_that_was_then_revoked_is_missed_with_it() -> None:
    mirror = Mirror(cast(Any, None))
    reported(mirror, "host1", 2, "released", peer="host3")
    reported(mirror, "host3", 2)
    revoke(mirror, "host3")
    assert fleet.owners(mirror)[SPEC.name].host == "host3"
    assert [shown.name for shown in successions.missed(mirror, "host3")] == [SPEC.name]


def test_what_is_shown_of_a_host_that_is_away_says_so() -> None:
    mirror = Mirror(cast(Any, None))
    assert fleet.unheard(mirror, "host3") == ""
    for linked, words in ((True, ""), (False, "host3 is away, and this is what it said last")):
        said = HostReport("host3", "https://host3:7443", FACTS, linked=linked)
        mirror.reports.put("reports/host3", Entry("reports/host3", msgspec.json.encode(said), 1))
        assert fleet.unheard(mirror, "host3") == words
    death = Death("host3", 1.0, "i1", Proof(ProofKind.BMC_OFF, "host3", 2.0, "bmc", "off"))
    mirror.deaths.put("deaths/host3", Entry("deaths/host3", msgspec.json.encode(death), 2))
    assert fleet.unheard(mirror, "host3").startswith("host3 is off: ")
    revoke(mirror, "host3")
    assert fleet.unheard(mirror, "host3").startswith("host3 is removed, ")
