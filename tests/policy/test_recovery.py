"""The table of verdicts: total, careful, and right in every world that the explorer can reach."""

from __future__ import annotations

from itertools import product
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from segue.policy import handoff, recovery
from segue.policy.handoff import Copy, Phase, Token
from segue.policy.recovery import Verdict
from tests.policy.explorer import explore
from tests.policy.worlds import MAY_RUN, Budget, Host

tokens = st.builds(
    Token,
    phase=st.sampled_from(Phase),
    epoch=st.integers(0, 4),
    peer=st.sampled_from(["", "other"]),
    migration=st.sampled_from(["", "m1", "m2"]),
)
RESUMES: Final = {Verdict.RESUME_SOURCE: 0, Verdict.RESUME_TARGET: 1}
RESTARTS: Final = {Verdict.RESTART_FROM_DISK_AT_SOURCE: 0, Verdict.RESTART_FROM_DISK_AT_TARGET: 1}
SWAPPED: Final = {
    Verdict.RESUME_SOURCE: Verdict.RESUME_TARGET,
    Verdict.RESUME_TARGET: Verdict.RESUME_SOURCE,
    Verdict.RESTART_FROM_DISK_AT_SOURCE: Verdict.RESTART_FROM_DISK_AT_TARGET,
    Verdict.RESTART_FROM_DISK_AT_TARGET: Verdict.RESTART_FROM_DISK_AT_SOURCE,
    Verdict.WAIT: Verdict.WAIT,
    Verdict.NOTHING: Verdict.NOTHING,
}


@given(st.none() | tokens, st.none() | tokens, st.booleans(), st.booleans())
def test_every_case_has_a_verdict_with_a_reason_and_no_side_is_favoured(
    source: Token | None, target: Token | None, source_dead: bool, target_dead: bool
) -> None:
    ruling = recovery.decide(source, target, source_dead, target_dead)
    swapped = recovery.decide(target, source, target_dead, source_dead)
    assert ruling.reason
    assert swapped.verdict is SWAPPED[ruling.verdict]


@given(st.none() | tokens, st.none() | tokens, st.booleans(), st.booleans())
def test_nothing_is_told_to_a_dead_host_or_to_one_whose_journal_is_unknown(
    source: Token | None, target: Token | None, source_dead: bool, target_dead: bool
) -> None:
    verdict = recovery.decide(source, target, source_dead, target_dead).verdict
    chosen = (RESUMES | RESTARTS).get(verdict)
    if chosen is not None:
        assert not (source_dead, target_dead)[chosen]
        assert (source, target)[chosen] is not None
    if verdict in RESTARTS:
        assert (target_dead, source_dead)[RESTARTS[verdict]], "a takeover without the other host fenced"


@given(tokens, st.booleans())
def test_while_the_other_host_may_run_the_guest_nobody_takes_it_over(token: Token, first: bool) -> None:
    source, target = (token, None) if first else (None, token)
    verdict = recovery.decide(source, target, False, False).verdict
    if token.phase in MAY_RUN:
        assert verdict is Verdict.NOTHING
    else:
        assert verdict is Verdict.WAIT


def test_in_every_reachable_world_a_verdict_is_safe_whatever_can_be_read() -> None:
    seen = explore(Budget(crashes=1, deaths=1, outages=1, migrations=1)).worlds
    again = explore(Budget(outages=1, migrations=2)).worlds
    situations = {world.hosts for world in (*seen, *again)}
    verdicts = {verdict for hosts in situations for verdict in _verdicts(hosts)}
    assert verdicts == set(Verdict), "a verdict that no world needs, or a search that is too small"


def _verdicts(hosts: tuple[Host, ...]) -> set[Verdict]:
    """All verdicts for one situation, by what can be read and which deaths are proved; each checked."""
    found = set()
    for read_1, read_2, proof_1, proof_2 in product((False, True), repeat=4):
        tokens = (hosts[0].token if read_1 else None, hosts[1].token if read_2 else None)
        dead = (proof_1 and not hosts[0].on, proof_2 and not hosts[1].on)
        ruling = recovery.decide(*tokens, *dead)
        _check(hosts, ruling.verdict)
        found.add(ruling.verdict)
    return found


def _check(hosts: tuple[Host, ...], verdict: Verdict) -> None:
    if verdict in RESUMES:
        chosen, other = hosts[RESUMES[verdict]], hosts[1 - RESUMES[verdict]]
        assert not chosen.memory.behind, f"a stale copy would resume: {hosts}"
        assert other.memory.kind is not Copy.RUNNING, f"two would run: {hosts}"
    elif verdict in RESTARTS:
        chosen, other = hosts[RESTARTS[verdict]], hosts[1 - RESTARTS[verdict]]
        assert not other.on, f"the other host has power: {hosts}"
        if chosen.token.phase is not Phase.OFFERED:
            assert chosen.token.epoch + handoff.TAKEOVER_STEP > other.token.epoch, f"outnumbered: {hosts}"
    elif verdict is Verdict.NOTHING:
        assert any(host.token.phase in MAY_RUN for host in hosts)
