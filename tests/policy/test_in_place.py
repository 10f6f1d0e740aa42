"""Two QEMUs on one host: one at most runs, in every order of events, deaths and crashes of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from segue.model.handoff import (
    HERE,
    Begin,
    BothComplete,
    Copy,
    Effect,
    Event,
    GiveUp,
    NeverRan,
    Phase,
    Refuse,
    Resume,
    Start,
    StepBack,
    Succeeded,
    TakePlace,
    Token,
)
from segue.policy import handoff

M = "m1"


@dataclass(frozen=True)
class World:
    """What the journal says, and what the two processes hold. `stale`: the second has run."""

    token: Token = field(default_factory=lambda: Token(Phase.OWNER, 1))
    first: Copy = Copy.RUNNING
    second: Copy = Copy.NONE
    stale: bool = False
    killed: bool = False

    @property
    def counts(self) -> str:
        """The one that the token names."""
        return "second" if (self.token.phase, self.token.peer) == (Phase.OWNER, HERE) else "first"

    @property
    def copy(self) -> Copy:
        copy: Copy = getattr(self, self.counts)
        return copy


def act(world: World, effect: Effect) -> World:
    """As the agent carries it out; which one counts is read from the token, as it does after a restart."""
    match effect:
        case Resume() if world.copy is Copy.COMPLETE:
            if world.counts == "second":
                return replace(world, second=Copy.RUNNING, stale=True)
            return replace(world, first=Copy.RUNNING)
        case StepBack():
            return replace(world, second=Copy.NONE)
        case _:
            return world


def told(world: World, event: Event) -> Iterator[World]:
    """After the event, and after a crash of the agent behind the journal's write or any of the effects."""
    reaction = handoff.react(world.token, event, world.copy)
    if any(isinstance(effect, Refuse) for effect in reaction.effects):
        return
    world = replace(world, token=reaction.token)
    yield restarted(world)
    for effect in reaction.effects:
        world = act(world, effect)
        yield restarted(world)
    yield world


def restarted(world: World) -> World:
    """A second QEMU of which the journal does not know ends; what is pending is done."""
    if world.token.peer != HERE:
        world = replace(world, second=Copy.NONE)
    for effect in handoff.pending(world.token, world.copy):
        world = act(world, effect)
    return world


def settled(world: World) -> Iterator[World]:
    """The first ends, then the journal says so, and the second is the first from then on."""
    if world.counts == "second" and world.second is not Copy.COMPLETE:
        world = replace(world, first=Copy.NONE)
        yield restarted(world)
        done = handoff.react(world.token, Succeeded(M), world.copy).token
        yield World(done, world.second, Copy.NONE, killed=world.killed)


def next_worlds(world: World) -> Iterator[World]:
    """All that can happen."""
    offered = world.token.phase is Phase.OFFERED
    if not world.token.migration:
        yield from told(world, Begin(HERE, M))
    if offered and world.second is Copy.NONE and world.first is Copy.RUNNING:
        yield replace(world, second=Copy.PARTIAL)
    if offered and world.first is Copy.RUNNING:
        yield replace(world, first=Copy.COMPLETE)
    if offered and world.first is Copy.COMPLETE and world.second is Copy.PARTIAL:
        yield replace(world, second=Copy.COMPLETE)
    if world.first is world.second is Copy.COMPLETE:
        yield from told(world, BothComplete(M))
    if world.counts == "second" and not world.stale:
        yield from told(world, NeverRan(M))
    yield from told(world, GiveUp(M))
    yield from told(world, Start())
    yield from settled(world)
    yield restarted(world)
    if not world.killed:
        yield replace(world, first=Copy.NONE, killed=True)
        yield replace(world, second=Copy.NONE, killed=True)


def every_world() -> set[World]:
    found, edge = {World()}, [World()]
    while edge:
        for after in next_worlds(edge.pop()):
            if after not in found:
                found.add(after)
                edge.append(after)
    return found


def test_never_two_and_never_the_stale_one() -> None:
    worlds = every_world()
    assert len(worlds) > 20
    for world in worlds:
        assert (world.first, world.second) != (Copy.RUNNING, Copy.RUNNING), world
        assert not (world.stale and world.first is Copy.RUNNING), world


def test_without_a_death_the_guest_can_always_be_brought_to_run() -> None:
    """GiveUp, NeverRan or what is pending: one of them lets the one that counts run."""
    for world in every_world():
        if world.killed or world.copy is Copy.RUNNING:
            continue
        afterwards = [restarted(world), *told(world, GiveUp(M)), *told(world, NeverRan(M))]
        assert any(after.copy is Copy.RUNNING for after in afterwards), world


def test_the_epoch_grows_with_each_change_of_who_may_run() -> None:
    offered = Token(Phase.OFFERED, 4, HERE, M)
    given = handoff.react(offered, BothComplete(M), Copy.COMPLETE)
    assert given.token == Token(Phase.OWNER, 5, HERE, M)
    assert given.effects == (TakePlace(), Resume())
    back = handoff.react(given.token, NeverRan(M), Copy.NONE)
    assert back.token == Token(Phase.OWNER, 6, "", M)
    assert back.effects == (StepBack(), Resume())


@pytest.mark.parametrize(
    "event", [BothComplete("m0"), GiveUp("m0"), NeverRan("m0"), Succeeded("m0"), Start()]
)
@pytest.mark.parametrize("phase", [Phase.OFFERED, Phase.OWNER])
def test_another_migrations_word_changes_nothing(event: Event, phase: Phase) -> None:
    token = Token(phase, 4, HERE, M)
    reaction = handoff.react(token, event, Copy.COMPLETE)
    assert reaction.token == token
    assert isinstance(reaction.effects[0], Refuse)


def test_a_guest_that_changes_nothing_has_no_successor() -> None:
    token = Token(Phase.OWNER, 4)
    assert isinstance(handoff.react(token, Succeeded(), Copy.RUNNING).effects[0], Refuse)
