"""What a tired user types: each is answered with what is wrong and what to do, and never with what was not done."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import Final

import pytest

from segue.cli import fleet
from segue.errors import Refused
from tests.controller.rig import Rig


@pytest.fixture
async def up(rig: Rig) -> Rig:
    rig.start()
    for number in (1, 2):
        await rig.host(f"host{number}", {"rack": f"r{number}"})
    await rig.up(2)
    return rig


TYPED: Final = (
    ("stauts", 2, "Did you mean 'status'"),
    ("host cordon @", 2, "a name is empty: /v1/hosts/"),
    ("task show @", 2, "a name is empty: /v1/tasks/"),
    ("host cordon hots1", 3, "`segue host list` shows all"),
    ("vm label nope team=web", 0, "There is no guest nope now"),
    ("token create --role host --name host7", 2, "--name is for a token to call with"),
    ("token create --role viewer --host host7", 2, "--host is for a token to join with"),
    ("drain --domain rack=r2 --dry-run", 0, "There is nothing to move: it is empty."),
    ("drain --domain rack=r9", 3, "Known of rack: r1, r2."),
    ("controller adopt 3f2a", 2, "`segue status` names the fleets"),
)
"""@ stands for nothing at all."""


async def test_it_is_told(up: Rig) -> None:
    for words, code, said in TYPED:
        done = await up.segue(*("" if word == "@" else word for word in words.split()))
        assert (done.returncode, said in done.stderr) == (code, True), (words, done.stderr)
    assert not [host for host in (await up.call("GET", "/hosts"))["items"] if host["cordoned"]]
    for words, key in (("host cordon host1", "cordoned"), ("cert revoke operator:x", "who")):
        done = await up.segue(*words.split(), "--json")
        assert json.loads(done.stdout)[key], (words, done.stderr)
    pair = up.certificate("operator", "olga")
    pair.key.unlink()
    done = await up.segue("status", pair=pair)
    assert (done.returncode, f"{pair.key} cannot be read" in done.stderr) == (6, True), done.stderr


@pytest.mark.slow
async def test_ctrl_c_in_a_drain_ends_the_watching_alone(up: Rig) -> None:
    up.world.move_s = 1.0
    host = up.world.hosts["host1"]
    for number in range(2):
        host.add(f"g{number}")
    await up.until("they are known", lambda: up.caller().call("GET", "/status")["guests"] == 2)
    argv = [sys.executable, "-m", "segue", "host", "drain", "host1", "--parallel", "1"]
    process = subprocess.Popen(
        argv, env=up.context(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    await up.until("a guest moves", lambda: up.world.begun)
    process.send_signal(signal.SIGINT)
    _, said = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    assert "Detached; the task goes on.  Watch: segue task watch" in said
    task = (await up.call("GET", "/tasks"))["items"][0]
    assert task["state"] == "running"
    ended = await up.ended(task["id"])
    assert (ended["state"], len(ended["moved"])) == ("done", 2)


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        ('"https://192.0.2.10:7440"', "'https://192.0.2.10:7440' is no list"),
        ('["http://192.0.2.10:7440"]', "is no https URL"),
        ('["192.0.2.10"]', "is no https URL"),
        ('["https://"]', "is no https URL"),
    ],
)
def test_a_context_that_is_almost_right(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, urls: str, why: str
) -> None:
    path = rig.path / "context.toml"
    path.write_text(f"[controller]\nurls = {urls}\n")
    monkeypatch.setenv("SEGUE_CONTEXT", str(path))
    with pytest.raises(Refused, match=why):
        fleet.load()
