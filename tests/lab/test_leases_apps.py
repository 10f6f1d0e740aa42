"""Applications on hosts without BMCs: a host that is cut off ends them itself, and they start elsewhere, never two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.lab import places
from segue.lab.api import Lab
from tests.agent.test_guard_trees import hierarchy
from tests.lab.moves import wait_until
from tests.lab.test_host_death import Writers
from tests.lab.test_leases import LEASE_S, Leased
from tests.lab.typed import segue

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(400)]
CACHE, HOMELY = "cache1", "own1"
ADDRESS: Final = "10.77.100.1"
GROUP: Final = "sys/fs/cgroup/segue-apps"


class FileWriters(Writers):
    """Watches which processes of any host have a file of the application's shared volume open for writing."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._folder = folder
        super().__init__(lab)

    def _disks(self, folder: Path) -> Iterator[str]:
        """One that stands, as both copies of a move do for a while, writes nothing."""
        try:
            if (folder / "comm").read_text().strip() != "redis-server" or _stands(folder):
                return
            ours = {
                (one.stat().st_dev, one.stat().st_ino) for one in self._folder.rglob("*") if one.is_file()
            }
            for link in (folder / "fd").iterdir():
                found = link.stat()
                flags = (folder / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0]
                if (found.st_dev, found.st_ino) in ours and int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    yield self._folder.name
                    return
        except OSError:
            return


def _stands(process: Path) -> bool:
    inside = next(
        line[4:] for line in (process / "cgroup").read_text().splitlines() if line.startswith("0::/")
    )
    return "frozen 1" in (hierarchy() / inside / "cgroup.events").read_text()


class Caches(Leased):
    """With two Redis: one whose volume all hosts see, and one whose volume is its host's own."""

    def where(self) -> dict[str, tuple[str, str]]:
        found = self.segue("app", "list", "-o", "json")
        return {shown["name"]: (shown["host"], shown["state"]) for shown in found if shown["name"] == CACHE}

    def restarted(self, host: str) -> bool:
        return bool(self.where()) and super().restarted(host)

    def host(self) -> str:
        return self.where()[CACHE][0]

    def redis(self, *words: str, address: str = ADDRESS) -> str:
        done = self.lab.exec("client1", ["redis-cli", "-h", address, *words], timeout=10.0)
        return str(done.stdout).strip()

    def pids(self, host: str, name: str) -> list[int]:
        """What is in its cgroup there, by the machine's own numbers."""
        listed = Path(f"/proc/{self.lab.host_pids(host)[0]}/root") / GROUP / name / "cgroup.procs"
        try:
            return [int(word) for word in listed.read_text().split()]
        except OSError:
            return []

    def folder(self) -> Path:
        return self.lab.places.shared / CACHE

    def names_on(self, host: str) -> list[str]:
        return [str(one["name"]) for one in self.agent(host).call("GET", "/guests")]

    def hold(self, host: str, place: str) -> None:
        """Its agent waits once it comes there, until it is let go on; not for longer than 20 s."""
        wait = "touch /run/segue/came; until test -e /run/segue/on; do sleep 0.02; done"
        self.on(
            host, f"rm -f /run/segue/came /run/segue/on; echo '{place}=exec {wait}' >/run/segue/failpoints"
        )

    def on(self, host: str, script: str) -> str:
        return str(self.lab.exec(host, ["sh", "-c", script]).stdout)

    def move(self, target: str) -> subprocess.Popen[bytes]:
        """Begun by a user, who waits for its end."""
        argv = [sys.executable, "-m", "segue", "migrate", CACHE, "--to", target]
        environ = {**os.environ, "SEGUE_CONTEXT": str(self.lab.places.context)}
        return subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def move_until_both_stand(self, source: str, target: str) -> subprocess.Popen[bytes]:
        """All is dumped on the source and restored on the target, and nobody has given anything away."""
        self.hold(source, "restored there")
        moving = self.move(target)
        wait_until(lambda: "came" in self.on(source, "ls /run/segue"), "both copies stand")
        assert self.pids(source, CACHE)
        assert self.pids(target, CACHE)
        return moving

    def begin(self) -> FileWriters:
        watching = FileWriters(self.lab, self.folder())
        wait_until(lambda: watching.seen.get(CACHE), "it writes its file")
        return watching


@pytest.fixture(scope="module")
def ward(labs_folder: object) -> Iterator[Caches]:
    lab = Lab(f"la{os.getpid()}")
    try:
        lab.up(hosts=3, clients=1, controllers=1, lease_s=LEASE_S, images=("micro", "app-redis"))
        lab.wait_for_services(60.0)
        made = Caches(lab)
        wait_until(lambda: len(made.up()) == 3, "all hosts are connected")
        segue(
            lab, "app", "load", str(places.cache() / "images" / "app-redis" / "image.tar"), "--name", "redis"
        )
        wait_until(made.all_leased, "all of them have a lease")
        made.folder().mkdir()
        made.folder().chmod(0o777)
        common = ("--host", "host2", "--memory", "128MiB", "--restart", "always")
        shared = ("--volume", f"/srv/segue/shared/{CACHE}:/data", "--address", f"{ADDRESS}/16")
        segue(lab, "app", "run", "--name", CACHE, *common, *shared, "redis")
        segue(lab, "app", "run", "--name", HOMELY, *common, "--volume", "/data", "redis")
        wait_until(lambda: made.redis("ping") == "PONG", "it answers")
        yield made
    finally:
        Lab(lab.places.name).down()


def test_a_redis_on_a_host_that_is_cut_off_starts_elsewhere_with_all_that_it_had(ward: Caches) -> None:
    assert ward.redis("set", "colour", "green") == "OK"
    watching, own = ward.begin(), ward.pids("host2", HOMELY)
    assert own
    cut_s = time.time()
    ward.lab.cut("host2")
    wait_until(lambda: ward.restarted("host2"), "it runs elsewhere", limit_s=90.0)
    incident = ward.newest("host2")
    took_s = next(hit["back_s"] for hit in incident["hits"] if hit["guest"] == CACHE) - cut_s
    print(f"cut off without a BMC: {CACHE} is back after {took_s:.1f} s; {incident['proof']['text']}")
    assert incident["proof"]["kind"] == "lease_over"
    wait_until(lambda: ward.redis("get", "colour") == "green", "it has what it had")
    assert ward.redis("set", "colour", "blue") == "OK"
    assert ward.pids("host2", CACHE) == [], "nothing of it is there, and nobody started it again"
    assert ward.pids("host2", HOMELY) == own, "nobody takes over what has its files there: it goes on"
    said = json.dumps(ward.newest("host2")["done"])
    assert f"{HOMELY} is left: no lease ends it (its volume /data)" in said
    own_words = ward.agent("host2").call("GET", "/incidents")
    assert [(one["cause"], one["hits"][0]["guest"]) for one in own_words] == [("cut_off", CACHE)]
    ward.lab.mend()
    wait_until(lambda: "host2" in ward.up(), "the host is back")
    wait_until(lambda: ward.names_on("host2") == [HOMELY], "what it had left of it is dropped")
    wait_until(ward.all_leased, "it has a lease again")
    watching.end()
    assert not watching.twice
    assert len(watching.seen[CACHE]) == 2, "two processes wrote, one after the other"
    assert ward.pids("host2", HOMELY) == own
    assert ward.redis("get", "colour") == "blue"


def test_one_whose_agent_and_guard_stand_still_ends_with_its_machine(ward: Caches) -> None:
    host = ward.host()
    watching = ward.begin()
    frozen = ward.processes(host, "agent", "segue.agent.guard")
    assert len(frozen) >= 2
    ward.lab.cut(host)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: ward.restarted(host), "it runs elsewhere", limit_s=90.0)
    watching.end()
    off = json.loads(ward.lab.places.state.read_text())["off"]
    assert off == [host], "its watchdog took its power"
    assert not watching.twice
    wait_until(lambda: ward.redis("get", "colour") == "blue", "it has what it had")
    ward.lab.mend()
    ward.lab.start(host)
    wait_until(lambda: len(ward.up()) == 3, "the host is back")


def test_without_its_agent_the_next_guard_ends_it_and_the_agent_then_starts_it_where_it_was(
    ward: Caches,
) -> None:
    """The guard that it was given to is killed; the next one has its cgroup, too. Others see its host all the time."""
    wait_until(ward.all_leased, "all of them have a lease")
    host = ward.host()
    pids = ward.pids(host, CACHE)
    ward.replace_guard(host)
    wait_until(lambda: ward.lease(host)["lives"] and ward.lease(host)["apps"], "its lease lives")
    assert ward.pids(host, CACHE) == pids
    watching = ward.begin()
    with ward.agent_stands(host):
        wait_until(lambda: not ward.pids(host, CACHE), "the guard ends it, without its agent")
    wait_until(lambda: ward.redis("get", "colour") == "blue", "it is back, with what it had")
    watching.end()
    assert not watching.twice
    assert len(watching.seen[CACHE]) == 2
    assert ward.host() == host
    found = ward.agent(host).call("GET", "/incidents")[0]
    assert (found["cause"], bool(found["ended_s"])) == ("cut_off", True)


def test_the_frozen_copy_of_a_source_that_is_cut_off_ends_there_and_never_runs_again(ward: Caches) -> None:
    """It has given the application away by then, and nobody heard that."""
    wait_until(ward.all_leased, "all of them have a lease")
    source = ward.host()
    target = next(host for host in ("host1", "host2", "host3") if host != source)
    watching = ward.begin()
    moving = ward.move_until_both_stand(source, target)
    ward.lab.cut(source)
    with ward.agent_stands(source):
        wait_until(lambda: not ward.pids(source, CACHE), "its guard ends what stands")
        ward.on(source, "touch /run/segue/on")
    # It goes on where it stood: it gives the application away.
    wait_until(lambda: ward.restarted(source), "it runs elsewhere", limit_s=90.0)
    wait_until(lambda: ward.redis("get", "colour") == "blue", "it has what it had")
    assert ward.newest(source)["proof"]["kind"] == "lease_over"
    ward.lab.mend()
    wait_until(lambda: len(ward.up()) == 3, "the host is back")
    wait_until(lambda: not ward.pids(source, CACHE), "nothing of it is there")
    moving.wait(60)
    watching.end()
    assert not watching.twice
    assert ward.host() != source


def test_a_restored_copy_that_waits_for_its_word_ends_with_its_hosts_lease(ward: Caches) -> None:
    wait_until(ward.all_leased, "all of them have a lease")
    source = ward.host()
    target = next(host for host in ("host1", "host2", "host3") if host != source)
    watching = ward.begin()
    moving = ward.move_until_both_stand(source, target)
    ward.lab.cut(target)
    with ward.agent_stands(target):
        ward.on(
            source, "touch /run/segue/on"
        )  # And so the source gives it away; the word does not get there.
        wait_until(lambda: not ward.pids(target, CACHE), "its guard ends what waits")
    wait_until(lambda: ward.restarted(target), "it runs elsewhere", limit_s=90.0)
    wait_until(lambda: ward.redis("get", "colour") == "blue", "it has what it had")
    ward.lab.mend()
    wait_until(lambda: len(ward.up()) == 3, "the host is back")
    moving.wait(60)
    watching.end()
    assert not watching.twice
    assert ward.host() != target
