"""The audit says of each host and domain what a drain of it would say, alone."""

from __future__ import annotations

from hypothesis import given, settings

from segue.model.fleet import Fleet
from segue.policy import audit, drain
from tests.policy import fleets
from tests.thorough import examples


@given(fleets.fleets())
@settings(deadline=None, max_examples=examples(100))
def test_each_answer_is_that_of_a_drain(fleet: Fleet) -> None:
    answers = list(audit.audit(fleet))
    racks = {host.labels["rack"] for host in fleet.hosts}
    assert {(a.label, a.value) for a in answers} == {
        *(("host", host.name) for host in fleet.hosts),
        *(("rack", rack) for rack in racks),
    }
    for answer in answers:
        made = drain.plan(fleet, answer.hosts)
        assert set(answer.hosts) == set(drain.hosts_of(fleet, answer.label, answer.value))
        assert answer.staying == made.staying
        assert answer.moves == len(made.moves)
        assert abs(answer.total_s - made.total_s) < 1e-6 * max(1.0, made.total_s)
