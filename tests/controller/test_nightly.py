"""Could every host be emptied? The leader asks by itself, and says what could not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segue.adapters import clock
from segue.controller import nightly
from segue.model.plan import Audited, Drainable
from tests.controller.rig import Rig


async def test_it_is_asked_now_and_each_night(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = rig.path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from segue.controller import nightly\nnightly.LOOK_S = 0.3\n")
    rig.start("c1", PYTHONPATH=str(folder))
    one = await rig.host("host1", {"rack": "r1"})
    await rig.host("host2", {"rack": "r2"})
    await rig.up(2)
    last = await rig.until("the leader asked", lambda: rig.caller().call("GET", "/drains/audit"))
    assert (last["failed"], last["failing"]) == (0, [])
    for number in range(5):
        one.add(f"big{number}", memory_bytes=3 << 30)
    await rig.until("they are known", lambda: rig.caller().call("GET", "/status")["guests"] == 5)
    done = await rig.segue("plan", "audit", "--failing")
    assert done.returncode == 1
    assert "host=host1" in done.stdout
    assert "big" in done.stdout
    assert "host=host2" not in done.stdout
    assert not [line for line in (await rig.call("GET", "/status"))["warnings"] if "emptied" in line], (
        "of last night"
    )
    assert (await rig.segue("plan", "audit", "--last")).returncode == 0
    assert (await rig.segue("plan", "audit", "--last", "--fleet", "x.yaml")).returncode == 2


def test_one_entry_of_the_store_takes_the_worst_night() -> None:
    staying = {f"guest-{n}-{'x' * 40}": "no host has room: " + "y" * 100 for n in range(500)}
    answers = [
        Drainable("rack", f"r{n}", tuple(f"host{m}" for m in range(400)), 0, 0.0, 0.0, staying)
        for n in range(4000)
    ]
    made = nightly.made(answers, 1.0)
    assert (made.asked, made.failed, len(made.failing)) == (4000, 4000, nightly.KEPT_MOST)
    from msgspec.json import encode

    from segue.model.store import VALUE_BYTES

    assert len(encode(made)) < VALUE_BYTES / 2


@pytest.mark.parametrize(
    ("age_s", "due"), [(0.0, False), (nightly.DAY_S - 60, False), (nightly.DAY_S + 1, True), (-3600.0, True)]
)
def test_a_clock_that_was_set_back_does_not_end_the_nights(age_s: float, due: bool) -> None:
    now_s = clock.wall_s()
    kept = Audited(now_s - age_s, 1.0, 1, 0)
    assert nightly.is_due(kept, now_s) is due
    assert nightly.is_due(None, now_s)
    assert replace(kept, failed=1).failed
