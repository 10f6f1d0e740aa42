"""Handoffs that are broken on purpose, each by one mistake that somebody could make, to prove the explorer.

An explorer that finds nothing has only shown something if it does find these. Each entry says what the
mistake is, the budget in which it shows, and what it breaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from segue.policy import handoff, takeover
from segue.policy.handoff import Copy, Phase, Reaction, Token
from tests.policy.explorer import doomed, explore, stuck, way_to
from tests.policy.worlds import Budget, Rules

DOOMED: Final = "nobody can bring the guest to run any more"
STUCK: Final = "a host stays off, and fencing it does not end the doubt"


@dataclass(frozen=True)
class Mistake:
    rules: Rules
    budget: Budget
    breaks: str
    hosts: int = 2


def counterexample(mistake: Mistake) -> list[str]:
    """The shortest way to the harm; empty where the explorer finds none."""
    seen = explore(mistake.budget, mistake.rules, mistake.hosts)
    if seen.trace:
        return seen.trace
    for harm, worlds in ((DOOMED, doomed(seen)), (STUCK, stuck(seen))):
        if worlds:
            return [*way_to(seen, worlds[0]), f"BROKEN: {harm}"]
    return []


def target_resumes_before_the_grant(token: Token, copy: Copy) -> tuple[handoff.Effect, ...]:
    if token.phase is Phase.INCOMING and copy is Copy.COMPLETE:
        return (handoff.Resume(),)
    return handoff.pending(token, copy)


def source_resumes_on_a_timeout(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.GiveUp) and token.phase is Phase.RELEASED:
        return Reaction(replace(token, phase=Phase.OWNER), (handoff.Resume(),))
    return handoff.react(token, event, copy, sender)


def source_forgets_that_it_released(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """The classic: no durable decision, so the question after a restart is answered with no."""
    if isinstance(event, handoff.Ask) and token.phase is Phase.RELEASED:
        back = Token(Phase.OWNER, token.epoch, "", token.migration)
        return Reaction(back, (handoff.Send(sender, handoff.Withdraw(event.epoch, event.migration)),))
    return handoff.react(token, event, copy, sender)


def numbers_are_ignored(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """Every letter is taken for one of the migration under way."""
    match event:
        case handoff.Grant():
            event = handoff.Grant(token.epoch + 1, token.migration)
        case handoff.Offer():
            event = replace(event, epoch=max(event.epoch, token.epoch))
        case handoff.Withdraw() | handoff.Confirm():
            event = type(event)(token.epoch, token.migration)
    return handoff.react(token, event, copy, sender)


def epochs_are_ignored(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """Migration ids alone: enough against old letters, until a token is handed back within one migration."""
    match event:
        case handoff.Grant():
            event = replace(event, epoch=token.epoch + 1)
        case handoff.Offer():
            event = replace(event, epoch=max(event.epoch, token.epoch))
        case handoff.Withdraw() | handoff.Confirm():
            event = replace(event, epoch=token.epoch)
    return handoff.react(token, event, copy, sender)


def migrations_are_ignored(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """Epochs alone: they do not grow when an offer is taken back."""
    if isinstance(event, handoff.Ask | handoff.Withdraw | handoff.Grant | handoff.Confirm):
        event = replace(event, migration=token.migration)
    return handoff.react(token, event, copy, sender)


def old_copy_passes_for_the_new(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.Offer) and token.phase is Phase.ABSENT:
        return handoff.react(token, event, Copy.NONE, sender)
    return handoff.react(token, event, copy, sender)


def takeover_before_the_copy_is_gone(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.PeerFenced) and token.phase in (Phase.RELEASED, Phase.INCOMING):
        after = handoff.react(token, event, Copy.NONE, sender)
        return Reaction(after.token, (handoff.Discard(),))
    return handoff.react(token, event, copy, sender)


def takeover_with_the_next_number(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    reaction = handoff.react(token, event, copy, sender)
    if isinstance(event, handoff.PeerFenced) and reaction.token.epoch > token.epoch:
        return Reaction(replace(reaction.token, epoch=token.epoch + 1))
    return reaction


def heir_takes_the_next_number(claims: Iterable[int], recorded: int, dark: bool) -> int:
    return max(recorded, *claims, 0) + 1


def heir_counts_the_dark_as_heard(claims: Iterable[int], recorded: int, dark: bool) -> int:
    return takeover.epoch(claims, recorded)


def heir_of_whatever_is_here(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """A host that still has a part in the guest, and a copy, is made an heir as if it had none."""
    if isinstance(event, handoff.TakeOver) and token.phase is not Phase.OWNER:
        return Reaction(Token(Phase.OWNER, event.epoch, "", token.migration))
    return handoff.react(token, event, copy, sender)


def heir_takes_any_number(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    """The number is the decider's, and the journal here is not asked."""
    if isinstance(event, handoff.TakeOver) and token.phase is Phase.ABSENT and copy is Copy.NONE:
        return Reaction(Token(Phase.OWNER, event.epoch, "", token.migration))
    return handoff.react(token, event, copy, sender)


def target_forgets_when_it_gives_up(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.GiveUp) and token.phase is Phase.INCOMING:
        return Reaction(Token(Phase.ABSENT, token.epoch), (handoff.Discard(),))
    return handoff.react(token, event, copy, sender)


def target_keeps_a_token_it_cannot_use(
    token: Token, event: handoff.Event, copy: Copy, sender: str
) -> Reaction:
    reaction = handoff.react(token, event, copy, sender)
    return Reaction(token) if isinstance(event, handoff.Grant) and reaction.token.peer else reaction


def old_grant_is_not_answered(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.Grant) and event.epoch <= token.epoch:
        return Reaction(token)
    return handoff.react(token, event, copy, sender)


def taker_confirms_before_it_runs(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    reaction = handoff.react(token, event, copy, sender)
    if isinstance(event, handoff.Grant) and reaction.again:
        confirm = handoff.Send(sender, handoff.Confirm(event.epoch, event.migration))
        return Reaction(reaction.token, (confirm, *reaction.effects))
    return reaction


def unconfirmed_owner_says_so(token: Token) -> int:
    return token.epoch if token.phase in (Phase.OWNER, Phase.OFFERED) else 0


def stopped_source_resumes_by_itself(token: Token, copy: Copy) -> tuple[handoff.Effect, ...]:
    if token.phase is Phase.OFFERED and copy is Copy.COMPLETE:
        return (handoff.Resume(),)
    return handoff.pending(token, copy)


def fencing_is_ignored(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.PeerFenced):
        return Reaction(token)
    return handoff.react(token, event, copy, sender)


def cold_start_of_what_runs(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.Begin | handoff.BothComplete) and event.cold:
        copy = Copy.NONE
    return handoff.react(token, event, copy, sender)


def start_of_what_is_offered(token: Token, event: handoff.Event, copy: Copy, sender: str) -> Reaction:
    if isinstance(event, handoff.Start) and token.phase is Phase.OFFERED and copy is Copy.NONE:
        return Reaction(token, (handoff.Boot(),))
    return handoff.react(token, event, copy, sender)


_TWO_JOURNALS: Final = "two journals allow the guest to run"
_NOT_ALLOWED: Final = "a copy runs where the journal does not allow it"
_STALE: Final = "a copy resumes that is older than what has run"
_OLD_OWNER: Final = "A owns epoch 1, but 3 was owned before"

_CALM = Budget()
_AGAIN = Budget(migrations=2)
_CRASH_AGAIN = Budget(crashes=1, migrations=2)
_DEATH = Budget(deaths=1)
_REFUSAL = Budget(refusals=1)
_CRASH_AND_OUTAGE = Budget(crashes=1, deaths=1, outages=1)
_OUTAGE = Budget(outages=1)
_OUTAGES = Budget(outages=2)
_OUTAGE_AGAIN = Budget(outages=1, migrations=2)
_LAPSE = Budget(lapses=1)
_COLD = Budget(migrations=0, cold=1)
_COLD_OUTAGE = Budget(deaths=1, outages=1, migrations=0, cold=1)
_COLD_DEATHS = Budget(deaths=2, migrations=0, cold=1)

MISTAKES: Final[dict[str, Mistake]] = {
    # Against "never two".
    "the target resumes before the grant": Mistake(
        Rules(pending=target_resumes_before_the_grant), _CALM, _NOT_ALLOWED
    ),
    "the source resumes on a timeout after its release": Mistake(
        Rules(react=source_resumes_on_a_timeout), _CALM, _TWO_JOURNALS
    ),
    "the source takes its release back when asked": Mistake(
        Rules(react=source_forgets_that_it_released), _CALM, _TWO_JOURNALS
    ),
    "the journal is written after the effects": Mistake(Rules(journal_first=False), _CALM, _NOT_ALLOWED),
    "a stopped source resumes while its offer stands": Mistake(
        Rules(pending=stopped_source_resumes_by_itself), _CALM, _STALE
    ),
    "neither epochs nor migrations are compared": Mistake(
        Rules(react=numbers_are_ignored), _CALM, _TWO_JOURNALS
    ),
    "epochs are not compared": Mistake(Rules(react=epochs_are_ignored), _CALM, _TWO_JOURNALS),
    "an old copy passes for the new one": Mistake(
        Rules(react=old_copy_passes_for_the_new), _CRASH_AGAIN, _STALE
    ),
    "a copy that died is taken for one that never ran": Mistake(Rules(knows_what_ran=False), _DEATH, _STALE),
    # Where a guest that crashed is started elsewhere.
    "a guest that runs is started elsewhere from its disks": Mistake(
        Rules(react=cold_start_of_what_runs), _COLD, _NOT_ALLOWED
    ),
    "a guest is started here while it is offered to another": Mistake(
        Rules(react=start_of_what_is_offered), _COLD_DEATHS, _STALE
    ),
    "a guest is given away that crashed before its host rebooted": Mistake(
        Rules(cold_only_of_this_boot=False), _COLD_OUTAGE, _TWO_JOURNALS, hosts=3
    ),
    # Around leases.
    "a host without a lease lets its guest run": Mistake(Rules(guards=False), _LAPSE, _NOT_ALLOWED),
    "a copy outlives the end of its host's lease": Mistake(Rules(buries=False), _LAPSE, _TWO_JOURNALS),
    "a host that is refused its lease can still give its guest away": Mistake(
        Rules(shuns=False), _LAPSE, _TWO_JOURNALS, hosts=3
    ),
    "a host that was cut off starts its guest without asking": Mistake(
        Rules(doubts=False), _LAPSE, _TWO_JOURNALS
    ),
    # Around fencing and reboots.
    "a takeover is journaled before the old copy is gone": Mistake(
        Rules(react=takeover_before_the_copy_is_gone), _CRASH_AND_OUTAGE, _STALE
    ),
    "a rebooted host starts its guest without asking": Mistake(
        Rules(hears_after_reboot=False), _OUTAGE, _TWO_JOURNALS
    ),
    "a fencing is told when the host has returned": Mistake(Rules(proof_holds=False), _OUTAGE, _TWO_JOURNALS),
    "the decider forgets what it decided before": Mistake(Rules(remembers=False), _OUTAGES, _OLD_OWNER),
    "the decider does not ask the third host": Mistake(
        Rules(asks_everybody=False), _OUTAGE_AGAIN, _TWO_JOURNALS, hosts=3
    ),
    "the decider overlooks a grant on its way": Mistake(
        Rules(counts_grants=False), _OUTAGE_AGAIN, _TWO_JOURNALS, hosts=3
    ),
    "a takeover just takes the next epoch": Mistake(
        Rules(react=takeover_with_the_next_number), _OUTAGE_AGAIN, _TWO_JOURNALS, hosts=3
    ),
    "an heir just takes the next epoch": Mistake(
        Rules(heirs_epoch=heir_takes_the_next_number, react=heir_takes_any_number),
        _OUTAGE,
        "B owns epoch 1, but 1 was owned before",
    ),
    "an heir takes the next epoch though a host without power was not asked": Mistake(
        Rules(heirs_epoch=heir_counts_the_dark_as_heard),
        Budget(outages=2, migrations=1),
        _TWO_JOURNALS,
        hosts=3,
    ),
    "an heir is made although another has the guest": Mistake(
        Rules(asks_everybody=False, react=heir_takes_any_number), _OUTAGE_AGAIN, _TWO_JOURNALS, hosts=3
    ),
    "an heir keeps the copy that it has": Mistake(
        Rules(asks_everybody=False, react=heir_of_whatever_is_here), _CRASH_AND_OUTAGE, _STALE
    ),
    # Against "never none".
    "migrations are not compared": Mistake(Rules(react=migrations_are_ignored), _AGAIN, DOOMED),
    "a target that gives up forgets": Mistake(Rules(react=target_forgets_when_it_gives_up), _CALM, DOOMED),
    "a target keeps a token that it cannot use": Mistake(
        Rules(react=target_keeps_a_token_it_cannot_use), _CALM, DOOMED
    ),
    "a repeated grant is not answered": Mistake(Rules(react=old_grant_is_not_answered), _CALM, DOOMED),
    "a guest is confirmed before it runs": Mistake(
        Rules(react=taker_confirms_before_it_runs), _REFUSAL, DOOMED
    ),
    "an owner that is not confirmed says that it owns": Mistake(
        Rules(owned=unconfirmed_owner_says_so), _CRASH_AND_OUTAGE, DOOMED
    ),
    "a fencing is ignored": Mistake(Rules(react=fencing_is_ignored), _OUTAGE, STUCK),
}
