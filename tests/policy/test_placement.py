"""A guest goes where it may, or every host says why not; what is checked fast is what is said in words."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.balance import Weights
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load, Rule, Spread, Taint
from segue.model.plan import Choice, Move, NoHost, Plan, Wave
from segue.policy import placement
from segue.policy.board import Board
from segue.policy.imbalance import Imbalance
from tests.policy import fleets
from tests.policy.fleets import GIB
from tests.thorough import examples


def as_plan(fleet: Fleet, guest: FleetGuest, chosen: Choice) -> tuple[Fleet, Plan]:
    """The choice as a plan, so that it can be replayed."""
    whole = replace(fleet, guests=(*(g for g in fleet.guests if g.name != guest.name), guest))
    move = Move(guest.name, guest.host, chosen.host, outlook=None, why="")  # type: ignore[arg-type]
    return whole, Plan((Wave((move,)),))


@given(fleets.fleets(), st.data())
@settings(deadline=None, max_examples=examples(200))
def test_a_choice_may_be_made_and_a_refusal_names_every_host(fleet: Fleet, data: st.DataObject) -> None:
    free = [g for g in fleet.guests if not g.pinned and not g.moving_to]
    new = FleetGuest("new", Amounts(data.draw(st.integers(1, 80)) * GIB, 1), labels={"app": "web"})
    guest = data.draw(st.sampled_from([new, *free]))
    found = placement.place(guest, fleet)
    names = {host.name for host in fleet.hosts}
    assert all(found.refused.values())
    if isinstance(found, NoHost):
        assert found.refused.keys() == names
        return
    assert found.host not in found.refused
    assert (found.outlook is not None) == bool(guest.host)
    assert all(found.score <= score for _, score in found.others)
    if guest.host:
        whole, plan = as_plan(fleet, guest, found)
        fleets.demand_never_too_much(whole, plan)
        fleets.demand_suitable(whole, plan)
        fleets.demand_apart(whole, plan)


@given(fleets.fleets())
@settings(deadline=None, max_examples=examples(200))
def test_what_is_judged_fast_is_what_is_said_in_words(fleet: Fleet) -> None:
    board = Board(fleet)
    for guest in range(len(fleet.guests)):
        for host in range(len(fleet.hosts)):
            if host != board.at[guest]:
                assert board.takes(guest, host) is not bool(board.refusals(guest, host))


@given(fleets.fleets(), st.data())
@settings(deadline=None, max_examples=examples(150))
def test_sums_that_follow_moves_are_those_made_anew(fleet: Fleet, data: st.DataObject) -> None:
    board = Board(fleet)
    before = [board.free(host) for host in range(len(fleet.hosts))]
    imbalance = Imbalance(board, Weights())
    moved = []
    for guest in data.draw(st.permutations(range(len(fleet.guests))))[:4]:
        target = data.draw(st.integers(0, len(fleet.hosts) - 1))
        if target == board.at[guest]:
            continue
        score, gain = imbalance.score(), imbalance.gain(guest, target)
        imbalance.shift(guest, target)
        board.move(guest, target)
        moved.append(guest)
        assert abs(imbalance.score() - Imbalance(board, Weights()).score()) < 1e-6
        assert abs(imbalance.hosts * (score - imbalance.score()) - gain) < 1e-6
    for guest in moved:
        board.undo(guest)
    after = [board.free(host) for host in range(len(fleet.hosts))]
    assert all(
        a.memory_bytes == b.memory_bytes and abs(a.vcpus - b.vcpus) < 1e-6
        for a, b in zip(before, after, strict=True)
    )
    assert board.spread.held == Board(fleet).spread.held
    assert board.spread.now == Board(fleet).spread.now


def small() -> Fleet:
    return Fleet(
        (
            FleetHost("h1", 8 * GIB, 4, labels={"rack": "r1"}),
            FleetHost("h2", 32 * GIB, 4, labels={"rack": "r1"}, taints=(Taint("gpu"),)),
            FleetHost("h3", 32 * GIB, 4, labels={"rack": "r2"}, cpu_models={"Nehalem": ("avx512f",)}),
            FleetHost("h4", 32 * GIB, 4, labels={"rack": "r3"}, machines=frozenset({"pc-q35-9.0"})),
            FleetHost("h5", 32 * GIB, 1, labels={"rack": "r1"}, accelerator="tcg"),
        ),
        (FleetGuest("web1", Amounts(GIB, 1), host="h1", labels={"app": "web"}),),
        (Rule("web", Spread.APART, {"app": "web"}, domain="rack"),),
    )


def test_every_reason_is_said_at_once() -> None:
    guest = FleetGuest(
        "web2",
        Amounts(10 * GIB, 8),
        labels={"app": "web"},
        machine="pc-q35-10.0",
        cpu_model="Nehalem",
        accelerator="kvm",
    )
    found = placement.place(guest, small())
    assert isinstance(found, NoHost)
    taken = "rule web: 1 of its group in rack r1"
    assert found.refused == {
        "h1": ("3.0 GiB short of memory", taken),
        "h2": ("is tainted gpu", taken),
        "h3": ("lacks avx512f",),
        "h4": ("has no machine type pc-q35-10.0",),
        "h5": ("runs guests by tcg, this one needs kvm", "4 vCPUs short", taken),
    }


def test_the_forecast_is_part_of_the_score() -> None:
    hosts = tuple(FleetHost(f"h{n}", 64 * GIB, 8, link_bytes_per_s=1e9) for n in range(3))
    slow = replace(hosts[1], link_bytes_per_s=1e7)
    guest = FleetGuest("g", Amounts(8 * GIB, 1), host="h0")
    chosen = placement.place(guest, Fleet((hosts[0], slow, hosts[2]), (guest,)))
    assert isinstance(chosen, Choice)
    assert chosen.host == "h2"
    assert chosen.outlook is not None
    assert chosen.others[0][0] == "h1"


def test_the_emptier_host_is_chosen_and_soft_wishes_count() -> None:
    hosts = tuple(FleetHost(f"h{n}", 64 * GIB, 8, labels={"rack": f"r{n}"}) for n in range(2))
    there = FleetGuest("there", Amounts(8 * GIB, 1), host="h0", load=Load(2.0))
    fleet = Fleet(hosts, (there,))
    plain = placement.place(FleetGuest("g", Amounts(8 * GIB, 1)), fleet)
    wishes = FleetGuest("g", Amounts(GIB, 1), prefers={"rack": ("r0",)})
    light = placement.place(wishes, Fleet(hosts, ()))
    assert isinstance(plain, Choice)
    assert isinstance(light, Choice)
    assert (plain.host, light.host) == ("h1", "h0")
