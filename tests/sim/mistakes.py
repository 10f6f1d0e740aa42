"""Mistakes that somebody could make in agent, engine, policy or controller, each of which the checkers have to find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from segue.agent import target
from segue.agent.resident_machine import MachineResident
from segue.agent.source import SourceCustody
from segue.controller import drain, executor
from segue.engine.leadership import Candidate
from segue.model.handoff import Token
from segue.model.landing import Handed
from segue.policy import compatibility, handoff
from segue.policy.handoff import Copy, Reaction
from segue.sim import checkers
from tests.policy import broken

Patch = pytest.MonkeyPatch
REACT: Final = handoff.react
PATIENCE_S: Final = 3.0


@dataclass(frozen=True)
class Mistake:
    """`make` breaks a rule; the checkers have to call one of these promises broken."""

    make: Callable[[Patch], None]
    breaks: frozenset[str]


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


MISTAKES: Final[dict[str, Mistake]] = {
    "the source takes its release back when asked": Mistake(
        _reacts(broken.source_forgets_that_it_released),
        frozenset({checkers.TWO, checkers.STALE, checkers.NONE, checkers.LEFT}),
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
        _a_source_loses_patience, frozenset({checkers.TWO, checkers.STALE})
    ),
    "an offer is not taken back": Mistake(
        lambda patch: patch.setattr(SourceCustody, "give_up", _nothing), frozenset({checkers.LEFT})
    ),
    "a tunnel is left at the target": Mistake(
        lambda patch: patch.setattr(target, "settled", _nothing), frozenset({checkers.LEFT})
    ),
    "copies that nobody needs are kept": Mistake(
        _copies_are_kept, frozenset({checkers.LEFT, checkers.AGENT})
    ),
    "a target does not look whether there is room": Mistake(_no_room_is_checked, frozenset({checkers.FULL})),
    "a new leader leaves a drain alone": Mistake(_a_new_leader_starts_afresh, frozenset({checkers.DRAIN})),
    "a drain does not say why a guest stays": Mistake(_reasons_are_lost, frozenset({checkers.DRAIN})),
    "nobody stands for leader": Mistake(_nobody_stands, frozenset({checkers.LEFT, checkers.DRAIN})),
}
