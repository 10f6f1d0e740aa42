"""Mistakes that somebody could make in agent, engine, policy or controller, each of which the checkers have to find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from segue.adapters import clock
from segue.agent import jobs, target
from segue.agent.crashes import Crashes
from segue.agent.lease import Lease
from segue.agent.resident_machine import MachineResident
from segue.agent.source import SourceCustody
from segue.controller import balance, drain, elsewhere, executor, host_work, works
from segue.controller.reports import Reports
from segue.controller.successions import Successions
from segue.engine import migrate
from segue.engine.leadership import Candidate
from segue.model.balance import Temper
from segue.model.fencing import Power
from segue.model.fleet import FleetGuest
from segue.model.guest import RunState
from segue.model.handoff import Token
from segue.model.landing import Handed
from segue.policy import answer, compatibility, following, handoff, hostloss, lease, temper
from segue.policy.handoff import Copy, Reaction
from segue.sim import checkers
from segue.sim.power import SimBmc
from tests.policy import broken

Patch = pytest.MonkeyPatch
REACT: Final = handoff.react
PATIENCE_S: Final = 3.0


@dataclass(frozen=True)
class Mistake:
    """`make` breaks a rule; the checkers have to call one of these promises broken. after: where the search begins, for
    what only a few seeds show."""

    make: Callable[[Patch], None]
    breaks: frozenset[str]
    after: int = 0


def _reacts(changed: Callable[..., Reaction]) -> Callable[[Patch], None]:
    """The mistakes of tests/policy/broken.py call the rule that they break by its name: that one stays whole."""

    def make(patch: Patch) -> None:
        def react(token: Token, event: handoff.Event, copy: Copy, sender: str = "") -> Reaction:
            patch.setattr(handoff, "react", REACT)
            try:
                return changed(token, event, copy, sender)
            finally:
                patch.setattr(handoff, "react", react)

        patch.setattr(handoff, "react", react)

    return make


async def _nothing(*_args: object, **_named: object) -> None:
    """What was to be done is left out."""


def _a_source_loses_patience(patch: Patch) -> None:
    """The classic: who hears nothing for long enough takes the guest back."""
    _reacts(broken.source_resumes_on_a_timeout)(patch)
    hand_over = SourceCustody.hand_over

    async def impatient(custody: SourceCustody) -> Handed:
        try:
            return await asyncio.wait_for(hand_over(custody), PATIENCE_S)
        except TimeoutError:
            await custody._keeper.tell(handoff.GiveUp(custody._migration))
            return Handed(returned=True)

    patch.setattr(SourceCustody, "hand_over", impatient)


def _no_room_is_checked(patch: Patch) -> None:
    found = compatibility._obstacles

    def but_memory(*args: Any) -> list[str]:
        return [why for why in found(*args) if "short of memory" not in why]

    patch.setattr(compatibility, "_obstacles", but_memory)


def _a_new_leader_starts_afresh(patch: Patch) -> None:
    carry_out = executor._carry_out

    async def own_tasks_only(work: Any) -> None:
        if work.tenure.epoch == 1:
            await carry_out(work)

    patch.setattr(executor, "_carry_out", own_tasks_only)


def _reasons_are_lost(patch: Patch) -> None:
    patch.setattr(drain, "told_reasons", lambda staying, trials: dict.fromkeys(staying, ""))


def _nobody_stands(patch: Patch) -> None:
    patch.setattr(Candidate, "_stand", _nothing)


def _copies_are_kept(patch: Patch) -> None:
    patch.setattr(MachineResident, "drop", _nothing)


def _an_order_is_taken_for_its_deed(patch: Patch) -> None:
    """A BMC that has taken the order is believed, and nobody looks whether the host is off."""

    async def believes(bmc: SimBmc, within_s: float, steady_s: float = 0.0) -> Power:
        await asyncio.sleep(0.2)
        bmc._order()
        return Power.OFF

    async def does_not_look(bmc: SimBmc) -> Power:
        return Power.OFF

    patch.setattr(SimBmc, "off", believes)
    patch.setattr(SimBmc, "power", does_not_look)


def _nobody_else_is_asked(patch: Patch) -> None:
    patch.setattr(hostloss, "_held", lambda loss: "")


def _the_dead_are_only_noted(patch: Patch) -> None:
    async def settled(_heirs: Successions) -> bool:
        return False

    patch.setattr(Successions, "settle", settled)


def _what_was_given_to_the_dead_is_forgotten(patch: Patch) -> None:
    patch.setattr(Reports, "_taker", lambda *_args: "")


def _a_migration_of_the_dead_goes_on(patch: Patch) -> None:
    patch.setattr(migrate, "_has_come_back", lambda run: False)


def _a_host_reboots_whoever_is_there(patch: Patch) -> None:
    patch.setattr(jobs, "GONE", frozenset({*jobs.GONE, RunState.RUNNING, RunState.PAUSED}))
    patch.setattr(works, "on_host", lambda mirror, host: [])


def _every_failing_host_is_emptied(patch: Patch) -> None:
    for limit in ("cap", "given_up_most"):
        patch.setattr(answer, limit, lambda hosts, orders: hosts)
    patch.setattr(answer, "_storms", lambda *_args: iter(()))


def _a_failed_step_has_no_reason(patch: Patch) -> None:
    passed = host_work.HostRun._passed

    async def silent(run: Any, step: Any, begun_s: float, note: str, *, ok: bool) -> None:
        await passed(run, step, begun_s, note, ok=ok)
        if not ok:
            await run.save(why="")

    patch.setattr(host_work.HostRun, "_passed", silent)


def _nobody_waits_for_a_lease(patch: Patch) -> None:
    patch.setattr(lease, "longest_wait_s", lambda charter: 0.0)


def _a_host_grants_itself_its_lease(patch: Patch) -> None:
    async def granted(_lease: Lease, _held: object) -> float:
        return clock.since_boot_s()

    patch.setattr(Lease, "_granted", granted)


def _a_lease_is_renewed_too_late(patch: Patch) -> None:
    patch.setattr(lease, "renew_every_s", lambda terms: 2 * terms.lease_s)


def _balances_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(balance, "under_way", lambda mirror: None)


def _drains_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(balance, "draining", lambda mirror: False)


def _nobody_remembers_who_was_moved(patch: Patch) -> None:
    held = temper.hold_back

    def forgetful(guest: FleetGuest, known: Temper, *rest: Any) -> str:
        return held(guest, replace(known, past={}), *rest)

    patch.setattr(temper, "hold_back", forgetful)


def _a_balance_says_no_reason(patch: Patch) -> None:
    sorted_out = following.sort_out

    def silent(*args: Any) -> following.Sorted:
        found = sorted_out(*args)
        return replace(found, off=dict.fromkeys(found.off, ""))

    patch.setattr(following, "sort_out", silent)
    patch.setattr(balance, "FORGONE", "")


def _nobody_starts_it_elsewhere(patch: Patch) -> None:
    patch.setattr(elsewhere, "waiting", lambda mirror: iter(()))


def _nobody_starts_it_at_all(patch: Patch) -> None:
    patch.setattr(Crashes, "tend", _nothing)


MISTAKES: Final[dict[str, Mistake]] = {
    "the source takes its release back when asked": Mistake(
        _reacts(broken.source_forgets_that_it_released),
        frozenset({checkers.TWO, checkers.STALE, checkers.NONE, checkers.LEFT}),
        after=30,
    ),
    "neither epochs nor migrations are compared": Mistake(
        _reacts(broken.numbers_are_ignored),
        frozenset({checkers.TWO, checkers.STALE, checkers.NONE, checkers.LEFT}),
    ),
    "a repeated grant is not answered": Mistake(
        _reacts(broken.old_grant_is_not_answered), frozenset({checkers.LEFT, checkers.NONE})
    ),
    "a guest is confirmed before it runs": Mistake(
        _reacts(broken.taker_confirms_before_it_runs), frozenset({checkers.NONE, checkers.LEFT})
    ),
    "a target keeps a token that it cannot use": Mistake(
        _reacts(broken.target_keeps_a_token_it_cannot_use), frozenset({checkers.LEFT, checkers.NONE})
    ),
    "a source that hears nothing takes its guest back": Mistake(
        _a_source_loses_patience, frozenset({checkers.TWO, checkers.STALE}), after=10
    ),
    "an offer is not taken back": Mistake(
        lambda patch: patch.setattr(SourceCustody, "give_up", _nothing), frozenset({checkers.LEFT}), after=10
    ),
    "a tunnel is left at the target": Mistake(
        lambda patch: patch.setattr(target, "settled", _nothing), frozenset({checkers.LEFT})
    ),
    "copies that nobody needs are kept": Mistake(
        _copies_are_kept, frozenset({checkers.LEFT, checkers.AGENT}), after=143
    ),
    "a target does not look whether there is room": Mistake(_no_room_is_checked, frozenset({checkers.FULL})),
    "a new leader leaves a drain alone": Mistake(
        _a_new_leader_starts_afresh, frozenset({checkers.DRAIN}), after=3
    ),
    "a drain does not say why a guest stays": Mistake(
        _reasons_are_lost, frozenset({checkers.DRAIN}), after=10
    ),
    "an order to a BMC is taken for its deed": Mistake(
        _an_order_is_taken_for_its_deed, frozenset({checkers.TWO, checkers.NONE, checkers.STALE}), after=95
    ),
    "a host is fenced without a second opinion": Mistake(
        _nobody_else_is_asked, frozenset({checkers.FENCED}), after=12
    ),
    "guests of a dead host are left where they were": Mistake(
        _the_dead_are_only_noted, frozenset({checkers.BACK}), after=13
    ),
    "a guest that was given to a host that died is missed by nobody": Mistake(
        _what_was_given_to_the_dead_is_forgotten, frozenset({checkers.BACK}), after=58
    ),
    "a source speaks to its dead target for ever": Mistake(
        _a_migration_of_the_dead_goes_on, frozenset({checkers.BACK}), after=28
    ),
    "a maintenance reboots a host that is not empty": Mistake(
        _a_host_reboots_whoever_is_there, frozenset({checkers.UPKEEP}), after=33
    ),
    "a maintenance does not say why a host failed": Mistake(
        _a_failed_step_has_no_reason, frozenset({checkers.UPKEEP}), after=33
    ),
    "sensors that lie empty the fleet": Mistake(
        _every_failing_host_is_emptied, frozenset({checkers.ALARM}), after=37
    ),
    "nobody waits until a lease is over": Mistake(
        _nobody_waits_for_a_lease, frozenset({checkers.TWO, checkers.STALE, checkers.NONE}), after=38
    ),
    "a host grants itself its lease": Mistake(
        _a_host_grants_itself_its_lease, frozenset({checkers.TWO, checkers.STALE, checkers.NONE}), after=38
    ),
    "a lease is renewed too late": Mistake(
        _a_lease_is_renewed_too_late, frozenset({checkers.LEASE}), after=22
    ),
    "two balances at once": Mistake(_balances_are_not_looked_for, frozenset({checkers.LEVEL}), after=21),
    "the balancer begins while a drain needs the room": Mistake(
        _drains_are_not_looked_for, frozenset({checkers.LEVEL}), after=27
    ),
    "the balancer forgets whom it moved": Mistake(
        _nobody_remembers_who_was_moved, frozenset({checkers.LEVEL}), after=62
    ),
    "a balance does not say why a guest stays": Mistake(
        _a_balance_says_no_reason, frozenset({checkers.LEVEL})
    ),
    "a guest that crashed is not started elsewhere": Mistake(
        _nobody_starts_it_elsewhere, frozenset({checkers.CRASH})
    ),
    "a guest that crashed is left": Mistake(_nobody_starts_it_at_all, frozenset({checkers.CRASH})),
    "nobody stands for leader": Mistake(_nobody_stands, frozenset({checkers.LEFT, checkers.DRAIN}), after=2),
}
