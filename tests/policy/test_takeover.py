"""An heir is made only of a host that has nothing, with a number above all others, and twice is as good as once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model import guest as guests
from segue.model.application import Application, Volume
from segue.model.crash import Deed, OnCrash
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost
from segue.model.guest import Guest
from segue.model.handoff import Discard, Refuse, TakeOver
from segue.model.plan import Choice, NoHost
from segue.policy import handoff, placement, takeover
from segue.policy.handoff import Copy, Phase, Token

tokens = st.builds(
    Token, st.sampled_from(Phase), st.integers(0, 9), st.sampled_from(["", "A"]), st.just("m1")
)
events = st.builds(TakeOver, st.just("A"), st.sampled_from(["", "off"]), st.integers(0, 20))
copies = st.sampled_from(Copy)


@given(tokens, events, copies)
def test_only_a_host_without_any_part_becomes_the_heir(token: Token, event: TakeOver, copy: Copy) -> None:
    after = handoff.react(token, event, copy).token
    if after != token:
        assert token.phase is Phase.ABSENT
        assert copy is Copy.NONE
        assert event.proof
        assert after.phase is Phase.OWNER
        assert after.epoch >= token.epoch + takeover.STEP


@given(tokens, events)
def test_said_again_it_changes_nothing_and_is_no_refusal(token: Token, event: TakeOver) -> None:
    once = handoff.react(token, event, Copy.NONE)
    if once.token != token:
        again = handoff.react(once.token, event, Copy.NONE)
        assert again.token == once.token
        assert not again.effects


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_the_number_is_above_all_that_is_claimed_or_known(claims: list[int], recorded: int) -> None:
    assert all(takeover.epoch(claims, recorded) >= known + takeover.STEP for known in [recorded, *claims])
    dark = takeover.epoch(claims, recorded, dark=True)
    assert all(dark >= known + takeover.FAR for known in [recorded, *claims])


def test_an_old_copy_goes_before_the_journal_says_owner() -> None:
    reaction = handoff.react(Token(Phase.ABSENT, 2), TakeOver("A", "off", 9), Copy.COMPLETE)
    assert reaction.effects == (Discard(),)
    assert reaction.again
    assert reaction.token == Token(Phase.ABSENT, 2)


def test_without_a_proof_nothing_happens() -> None:
    effect = handoff.react(Token(), TakeOver("A", "", 9), Copy.NONE).effects[0]
    assert isinstance(effect, Refuse)


def _app(*volumes: Volume) -> Guest:
    app = Application("sha256:0", "redis", ("redis-server",), volumes=volumes)
    return guests.application("cache1", "u1", 1 << 20, app, ())


def test_a_lease_covers_what_another_host_could_start_and_nothing_else() -> None:
    shared, own = Volume("vol0", "/data", "/srv/segue/shared/x"), Volume("vol1", "/own")
    assert takeover.is_covered(Guest("g1", "u1", 1 << 20))
    assert takeover.is_covered(_app())
    assert takeover.is_covered(_app(shared))
    assert not takeover.is_covered(_app(shared, own))
    assert takeover.at_home(_app(shared, own)) == "its volume /own"
    declared = replace(_app(), app=Application("sha256:0", "redis", ("redis-server",), keeps=("/data",)))
    assert takeover.at_home(declared) == "its volume /data"
    assert not takeover.is_covered(declared)
    assert not takeover.is_covered(replace(_app(), on_crash=OnCrash(host=Deed.LEAVE)))


def test_what_starts_anew_needs_its_image_and_nothing_of_its_old_processor_nor_criu() -> None:
    runs = FleetGuest(
        "cache1", Amounts(1 << 20, 1), host="h1", pinned="it cannot move", is_app=True, app_image="sha256:a",
        app_reference="redis", cpu_features=frozenset({"avx512f"}),
    )  # fmt: skip
    heir = FleetHost(
        "h2", 1 << 30, 4, takes_no_apps="it has no criu", app_images=frozenset({"sha256:a"}),
        cpu_features=frozenset({"sse2"}),
    )  # fmt: skip
    bare = replace(heir, name="h3", app_images=frozenset())
    seen = Fleet((heir, bare), (runs,))
    assert isinstance(placement.place(replace(runs, host="", pinned=""), seen), NoHost)
    found = placement.place(takeover.anew(runs), takeover.open_to_all(seen))
    assert isinstance(found, Choice)
    assert found.host == "h2"
