"""What few applications hold: each is refused before anything stops, with its reason, or is whole on the other host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from segue.lab import places
from segue.lab.api import Lab
from tests.lab import client, typed
from tests.lab.app_odds import PROGRAM, STAYS
from tests.lab.app_odds_files import AS_ROOT, FILES
from tests.lab.app_odds_talk import TALK
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(240)]
ADDRESS: Final = "10.77.100.7"
OUTSIDE: Final = """
import os, socket
os.umask(0)
stream, dgram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
stream.bind("/srv/segue/shared/out/stream"); stream.listen(); dgram.bind("/srv/segue/shared/out/dgram")
print("listens", flush=True)
kept = []
while True: kept.append(stream.accept())
"""


@pytest.fixture(scope="module")
def lab(labs_folder: Path) -> Iterator[Lab]:
    made = Lab(f"o{os.getpid()}")
    made.up(hosts=2, clients=1, images=("app-python",))
    made.wait_for_agents(["host1", "host2"], 60.0)
    typed.segue(
        made, "app", "load", str(places.cache() / "images" / "app-python" / "image.tar"), "--name", "python"
    )
    out = made.places.shared / "out"
    out.mkdir()
    out.chmod(0o777)
    outside = made.popen("host1", ["python3", "-c", OUTSIDE], stdout=subprocess.PIPE, text=True)
    assert outside.stdout is not None
    assert outside.stdout.readline() == "listens\n"
    yield made
    outside.kill()
    outside.wait()
    made.down()


class Holder:
    """An application that holds odd things, and the client that asks it for what is wrong with them."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._talk = client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 8080), 20))
        self._talk.settimeout(60.0)
        self._lines = self._talk.makefile("rwb", buffering=0)

    def wrong(self) -> dict[str, str]:
        """Name -> what is not as it was, over the same connection."""
        self._lines.write(b"?\n")
        found: dict[str, str] = json.loads(self._lines.readline())
        return found

    def move(self) -> subprocess.CompletedProcess[str]:
        """From host1 to host2."""
        return typed.run(
            self._lab, "migrate", "odd1", "--to", "host2", "--max-blackout", "20s", timeout_s=120.0
        )


@contextmanager
def holding(lab: Lab, odds: Mapping[str, tuple[str, str]], user: str) -> Iterator[Holder]:
    start = (
        "app",
        "run",
        "--name",
        "odd1",
        "--host",
        "host1",
        "--address",
        f"{ADDRESS}/16",
        "--memory",
        "512MiB",
    )
    volumes = ("--volume", "/volume", "--volume", "/srv/segue/shared/out:/out", "--user", user)
    things = json.dumps([(name, make, look) for name, (make, look) in odds.items()])
    typed.segue(lab, *start, *volumes, "python", "-c", PROGRAM, things)
    try:
        wait_until(lambda: _listens(lab), "all is made")
        yield Holder(lab)
    finally:
        typed.run(lab, "app", "stop", "odd1", "--timeout", "0s")
        typed.segue(lab, "app", "delete", "odd1", "--yes")


def _listens(lab: Lab) -> bool:
    try:
        client.inside(lab, "client1", lambda: socket.create_connection((ADDRESS, 8080), 5)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("what", STAYS)
def test_what_cannot_move_is_refused_before_it_stops(lab: Lab, what: str) -> None:
    make, word = STAYS[what]
    with holding(lab, {what: (make, "")}, "root" if "/etc" in make or "/usr" in make else "app") as holder:
        assert not "\n".join(f"{what}: {how}" for what, how in holder.wrong().items())
        done = holder.move()
        assert done.stderr.startswith("refused: "), done.stderr
        assert word in done.stderr
        assert not "\n".join(f"{what}: {how}" for what, how in holder.wrong().items())


@pytest.mark.parametrize(
    ("user", "odds"),
    [("app", FILES), ("app", TALK), ("root", AS_ROOT)],
    ids=["files", "talk and processes", "of root"],
)
def test_what_can_move_is_whole_there(lab: Lab, user: str, odds: Mapping[str, tuple[str, str]]) -> None:
    with holding(lab, odds, user) as holder:
        before = holder.wrong()
        assert before == {}
        done = holder.move()
        assert done.returncode == 0, done.stderr
        assert not "\n".join(f"{what}: {how}" for what, how in holder.wrong().items())
