"""Memory is compared on both hosts while both copies stand: equal after every move, and one wrong byte is found."""

from __future__ import annotations

import pytest

from segue.errors import SegueError
from tests.lab.scene import GUEST, MEMORY_BYTES, Scene

pytestmark = pytest.mark.lab

AT = 77 << 20
CORRUPT = (
    "for f in /proc/[0-9]*/fd/*; do case $(readlink $f) in /memfd:memory-backend-memfd*) "
    f"printf corrupt | dd of=$f bs=1 seek={AT} conv=notrunc;; esac; done"
)


@pytest.mark.slow
def test_all_memory_is_equal_though_the_guest_writes(scene: Scene) -> None:
    for _ in range(2):
        _, target = scene.route()
        record = scene.migrate(target, verify="full").end("done")
        assert record["outcome"]["verification"]["verified_bytes"] == MEMORY_BYTES, record["outcome"]
        scene.demand_calm()


def test_one_wrong_page_is_found_and_the_guest_stays(scene: Scene) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    scene.arm(target, "before digest", f"exec {CORRUPT}")
    failure = scene.migrate(target, verify="full").end("aborted")["failure"]
    assert f"bytes {AT:#x} to {AT + 4095:#x} differ" in failure["why"]
    scene.demand_calm()
    assert scene.owner() == source
    assert scene.client.uptime_s() > lived_s
    scene.migrate(target).end("done")
    scene.demand_calm()


def test_a_sample_is_compared_when_nobody_asks(scene: Scene) -> None:
    _, target = scene.route()
    found = scene.migrate(target).end("done")["outcome"]["verification"]
    assert found["mode"] == "sample"
    assert found["verified_bytes"] > 0, found
    scene.demand_calm()


def test_what_does_not_fit_into_the_budget_is_refused_before_anything_is_begun(scene: Scene) -> None:
    source, target = scene.route()
    wish = {"to": target, "limits": {"blackout_s": 0.002, "verify": "full"}}
    with pytest.raises(SegueError, match="cannot be compared within the blackout budget"):
        scene.call(source, "POST", f"/guests/{GUEST}/migrations", wish)
    scene.demand_calm()
