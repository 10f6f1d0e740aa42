"""An agent of this version beside one of the version before: what works works, the rest is refused before it begins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from segue.errors import Kind, SegueError
from segue.lab import furnish, layers, places, rootfs, state
from segue.lab.variants import Variants
from tests.lab.scene import CARDS, GUEST, Scene
from tests.lab.skew import code_of

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]
BEFORE: Final = "5804676"
"""The last commit whose agents speak wire version 1."""
PLAIN: Final = "sed -i '/^.tls.$/a channels = \"off\"' /etc/segue/agent.toml"
SHARED_USER: Final = "sed -i '1i qemu_uids = 0' /etc/segue/agent.toml"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before, out of the checkout's own history."""
    return code_of(BEFORE, tmp_path_factory.mktemp("before"))


class Mixed(Scene):
    """host2 has the agent of before: it knows guests with one card, no users of their own, and no watchdogs."""

    def __init__(self, before: Path) -> None:
        super().__init__(f"w{os.getpid()}", Variants(agents={"host2": str(before)}), CARDS[:1])
        self.watch = False

    def ready(self) -> None:
        """The guest begins on host1."""
        self.run("host1", "sh", "-ec", SHARED_USER)
        self.restart("host1")


@pytest.fixture(scope="module")
def mixed(labs_folder: Path, before: Path) -> Iterator[Scene]:
    made = Mixed(before)
    made.up()
    yield made
    made.down()


def install(scene: Scene, host: str, tree: Path) -> None:
    """Puts that code, what it imports and its agent.toml in the place of the host's own."""
    cache, root = places.cache(), Path("/")
    base = rootfs.folder(cache)
    for layer, folder in (
        (layers.ensure_segue(cache, base, print, str(tree)), layers.APP),
        (layers.ensure_dependencies(cache, base, print, str(tree)), layers.SITE),
    ):
        packed = subprocess.run(["tar", "c", "-C", str(layer / folder), "."], capture_output=True, check=True)
        scene.run(host, "find", str(root / folder), "-mindepth", "1", "-delete")
        argv, environ = scene.lab.command(host, ["tar", "x", "-C", str(root / folder)])
        subprocess.run(argv, env=environ, input=packed.stdout, check=True)
    wanted = state.need(scene.lab.places)
    node, live = wanted.node(host), Path(f"/proc/{scene.lab.host_pids(host)[0]}/root")
    furnish.furnish(scene.lab.places, node, wanted.everybody, live)
    scene.restart(host)


def versions(scene: Scene, host: str) -> tuple[int, int]:
    facts = scene.call(host, "GET", "/host")
    return tuple(facts.get("wire_versions") or (facts["wire_version"],) * 2)


def refused(scene: Scene, source: str, target: str) -> str:
    with pytest.raises(SegueError) as why:
        scene.call(source, "POST", f"/guests/{GUEST}/migrations", {"to": target})
    assert why.value.kind is Kind.POLICY
    return why.value.why


def test_a_fleet_is_updated_host_by_host(mixed: Scene, before: Path) -> None:
    """One guest through all of it: refused, moved in plain both ways, its agent updated and put back under it."""
    scene = mixed
    scene.begin()
    assert (versions(scene, "host1"), versions(scene, "host2")) == ((2, 2), (1, 1))
    assert "wire version 1, which cannot encrypt memory" in refused(scene, "host1", "host2")
    with ExitStack() as plain:
        plain.enter_context(scene.configured("host1", PLAIN))
        assert versions(scene, "host1") == (1, 2)
        to_the_old = scene.migrate("host2").end("done")
        assert to_the_old["wire"] == 1
        scene.migrate("host1").end("done")
        scene.migrate("host2").end("done")
    assert "wire version" in refused(scene, "host2", "host1")
    (qemu,) = [seen.pid for seen in scene.census.on("host2")]
    install(scene, "host2", layers.package().parent)
    assert [seen.pid for seen in scene.census.on("host2")] == [qemu]
    assert versions(scene, "host2") == (2, 2)
    assert len(scene.call("host2", "GET", "/migrations")) == 1
    assert scene.migrate("host1").end("done")["wire"] == 2
    install(scene, "host1", before)
    shown = scene.shown("host1")
    assert shown is not None
    assert (shown["phase"], shown["state"]) == ("owner", "running")
    install(scene, "host1", layers.package().parent)
    scene.migrate("host3").end("done")
    scene.demand_calm()
