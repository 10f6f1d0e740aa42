"""A running application goes only where it can be taken in; a new one has its image brought."""

from __future__ import annotations

from dataclasses import replace

from segue.controller import fleet_apps
from segue.model.application import Application
from segue.model.belongings import Engine
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost
from segue.model.guest import Guest, application
from segue.model.host import HostFacts
from segue.model.plan import Choice, NoHost
from segue.policy import fit, placement

HERE = FleetHost("h1", 1 << 30, 4, app_images=frozenset({"sha256:a"}))
NEW = FleetGuest("cache1", Amounts(1 << 20, 1), is_app=True)
RUNS = replace(NEW, host="h1", app_image="sha256:a", app_reference="redis:8")


def test_a_host_without_the_image_is_named_with_what_to_do() -> None:
    bare = replace(HERE, name="h2", app_images=frozenset())
    found = placement.place(RUNS, Fleet((HERE, bare), (RUNS,)))
    assert isinstance(found, NoHost)
    assert "segue app pull redis:8 --host h2" in found.refused["h2"][0]
    assert fit.obstacles(NEW, bare) == ()


def test_one_that_has_it_is_chosen_and_one_that_does_not_say_may_be() -> None:
    bare, full = replace(HERE, name="h2", app_images=frozenset()), replace(HERE, name="h3")
    found = placement.place(RUNS, Fleet((HERE, bare, full), (RUNS,)))
    assert isinstance(found, Choice)
    assert found.host == "h3"
    assert fit.obstacles(RUNS, replace(HERE, app_images=None)) == ()


def test_a_host_whose_criu_does_not_work_takes_no_running_one() -> None:
    broken = replace(HERE, name="h2", takes_no_apps="it has no criu")
    assert fit.obstacles(RUNS, broken) == ("takes no running application in: it has no criu",)
    assert fit.obstacles(NEW, broken) == ()


def test_kinds_tell_apart_what_fit_tells_apart() -> None:
    bare = replace(HERE, app_images=frozenset())
    assert fit.host_kind(bare, ()) != fit.host_kind(HERE, ())
    assert fit.guest_kind(RUNS) != fit.guest_kind(NEW)


def _facts(engine: Engine | None, images: tuple[str, ...] = ()) -> HostFacts:
    return HostFacts(
        name="h1", instance="i", segue_version="0", wire_version=1, qemu_version="10", accelerator="tcg",
        machines=(), cpu_models={}, memory_total_bytes=1, memory_free_bytes=1, cpus=1, bridges=(), guests=(),
        kernel="6.12", app_runtime="crun 1", app_engine=engine, app_images=images,
    )  # fmt: skip


def spec() -> Guest:
    return application("cache1", "u1", 1 << 20, Application("sha256:a", "redis:8", ("redis",)), ())


def test_an_application_whose_host_cannot_move_it_is_pinned_with_the_reason() -> None:
    engine = Engine("", "it has no libcriu2")
    found = fleet_apps.guest(replace(NEW, host="h1"), spec(), _facts(engine))
    assert found.pinned == "h1 cannot move applications: it has no libcriu2"
    able = fleet_apps.guest(
        replace(NEW, host="h1"), spec(), _facts(Engine("4.2", cpu_flags=frozenset({"avx2"})))
    )
    assert (able.pinned, able.cpu_features, able.app_image) == ("", frozenset({"avx2"}), "sha256:a")


def test_a_host_is_as_its_agent_says() -> None:
    facts = _facts(Engine("4.2", cpu_flags=frozenset({"avx2"})), ("sha256:a",))
    found = fleet_apps.host(FleetHost("h1", 1, 1), facts)
    assert found.app_images == frozenset({"sha256:a"})
    assert found.cpu_features == {"avx2"}
    assert found.takes_no_apps == ""
    assert fleet_apps.host(FleetHost("h1", 1, 1), _facts(None)).app_images is None
