"""Disks that one host alone sees move with their guest, before it or after it; the content is compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segue.cli.fleet import Host
from segue.errors import Refused
from segue.lab.api import Lab
from tests.lab.moves import Move, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
NAME = "disk1"
FOLDER = "/var/lib/segue/disks"
LIMITS = {"blackout_s": 10.0, "deadline_s": 240.0, "verify": "off"}
KILL = f"for p in /proc/[0-9]*; do grep -qa 'process=segue-{NAME[:-1]}[1]' $p/cmdline && kill -9 ${{p#/proc/}}; done"
PATTERN = ("-c", "write -P 7 0 24M", "-c", "write -P 9 32M 8M", "-c", "write -z 33M 1M")


class Place:
    """Two hosts and a guest with a qcow2 and a raw disk of its host's own."""

    def __init__(self, lab: Lab, formats: tuple[str, ...] = ("qcow2", "raw")) -> None:
        self.lab = lab
        for host in ("host1", "host2"):
            wait_until(partial(self.call, host, "GET", "/host"), f"the agent of {host}")
        disks = [{"size_bytes": 48 << 20, "format": form, "storage": "local"} for form in formats]
        wish = {"name": NAME, "image": "micro", "memory_bytes": 96 << 20, "start": False}
        self.spec = self.call("host1", "POST", "/guests", {**wish, "disks": disks})["spec"]
        for disk in self.spec["disks"]:
            lab.exec("host1", ["qemu-io", "-f", disk["format"], *PATTERN, disk["path"]], check=True)
        self.call("host1", "POST", f"/guests/{NAME}/start")

    def call(self, host: str, method: str, path: str, body: object = None) -> Any:
        return Host(host, f"unix://{self.lab.agent_socket(host)}").call(method, path, body)

    def move(self, source: str, target: str, **limits: object) -> Move:
        wish = {"to": target, "limits": {**LIMITS, **limits}, "force": True}
        begun = self.call(source, "POST", f"/guests/{NAME}/migrations", wish)
        return Move(Host(source, f"unix://{self.lab.agent_socket(source)}"), target, begun["id"])

    def route(self) -> tuple[str, str]:
        """(where it is, the other one)."""
        return ("host1", "host2") if self.show("host1") else ("host2", "host1")

    def files(self, host: str) -> set[str]:
        return set(self.lab.exec(host, ["ls", FOLDER], check=True).stdout.split())

    def show(self, host: str) -> dict[str, Any] | None:
        found = [guest for guest in self.call(host, "GET", "/guests") if guest["name"] == NAME]
        return found[0] if found else None

    def content(self, host: str, path: str, form: str) -> str:
        """A digest of what the guest sees of a disk, whatever its file looks like."""
        script = 'qemu-img convert -U -f "$1" -O raw "$2" /tmp/seen && sha256sum /tmp/seen && rm /tmp/seen'
        said = self.lab.exec(host, ["sh", "-c", script, "sh", form, path], check=True).stdout
        return said.split()[0]

    def demand_equal(self, source: str, target: str) -> None:
        """What the guest left there is what it has here: nothing in it writes, so every block is equal."""
        kept = {disk["was"]: disk["path"] for disk in self.call(source, "GET", "/disks/kept")}
        for disk in self.spec["disks"]:
            path, form = disk["path"], disk["format"]
            assert self.content(source, kept[path], form) == self.content(target, path, form), path

    def paths(self) -> list[tuple[str, str]]:
        return [(disk["path"], disk["format"]) for disk in self.spec["disks"]]

    def names(self) -> set[str]:
        return {disk["path"].rpartition("/")[2] for disk in self.spec["disks"]}


@pytest.fixture(scope="module")
def place(labs_folder: Path) -> Iterator[Place]:
    made = Lab(f"d{os.getpid()}")
    made.up(hosts=2, clients=0, images=("micro",))
    yield Place(made)
    made.down()


def test_disks_move_with_their_guest_and_stay_sparse(place: Place) -> None:
    place.move("host1", "host2").end("done", 120)
    place.demand_equal("host1", "host2")
    assert place.files("host2") == place.names()
    assert place.files("host1") == {f"{name}.moved-2" for name in place.names()}
    held = place.lab.exec("host2", ["du", "-sk", FOLDER], check=True).stdout.split()[0]
    assert int(held) < 80 << 10, "holes were filled: 32 MiB of each disk hold something"


def test_an_abort_leaves_nothing_on_the_target_and_touches_nothing_on_the_source(place: Place) -> None:
    source, target = place.route()
    before = place.files(source)
    place.lab.set_rate(20_000_000, source)
    try:
        move = place.move(source, target)
        move.until_step("mirror disks")
        move.cancel()
        move.end("aborted", 60)
    finally:
        place.lab.set_rate(None, source)
    assert place.files(source) == before
    wait_until(lambda: place.show(target) is None, f"{target} has dropped its copy")
    assert not place.files(target) & place.names()


def test_a_file_of_that_name_is_never_overwritten(place: Place) -> None:
    source, target = place.route()
    path = place.spec["disks"][0]["path"]
    place.lab.exec(target, ["sh", "-c", f"echo precious > {path}"], check=True)
    try:
        with pytest.raises(Refused) as refused:
            place.move(source, target)
        assert "another file than ours" in refused.value.why
        assert place.lab.exec(target, ["cat", path], check=True).stdout == "precious\n"
    finally:
        place.lab.exec(target, ["rm", path], check=True)


def test_a_raw_disk_cannot_follow_later(place: Place) -> None:
    source, target = place.route()
    with pytest.raises(Refused) as refused:
        place.move(source, target, storage_postcopy=True)
    assert "only a qcow2 disk" in refused.value.why


def test_all_of_memory_and_disks_is_compared_and_one_wrong_block_keeps_the_guest(place: Place) -> None:
    source, target = place.route()
    raw = next(disk["path"] for disk in place.spec["disks"] if disk["format"] == "raw")
    corrupt = f"exec printf X | dd of={raw} bs=1 seek={5 << 20} conv=notrunc status=none"
    with (place.lab.agent_socket(target).parent / "failpoints").open("a") as file:
        file.write(f"before disk digest={corrupt}\n")
    why = place.move(source, target, verify="full").end("aborted", 120)["failure"]["why"]
    assert f"its disk {raw} on {target} is not what it is on {source}: bytes {5 << 20:#x} to" in why
    wait_until(lambda: place.show(target) is None, f"{target} has dropped its copy")
    found = place.move(source, target, verify="full").end("done", 120)["outcome"]["verification"]
    assert found["disk_bytes"] == 2 * (48 << 20)
    place.demand_equal(source, target)


def test_the_guest_runs_before_its_memory_on_disks_that_were_copied(place: Place) -> None:
    source, target = place.route()
    outcome = place.move(source, target, post_copy_after=0).end("done", 120)["outcome"]
    assert outcome["serving_s"] > 0, "it did not run before its memory"
    place.demand_equal(source, target)


def test_a_target_that_dies_before_it_ran_gives_the_guest_and_its_disks_back(place: Place) -> None:
    """The source's QEMU had switched over to post-copy and let go of the disks: another takes them up."""
    source, target = place.route()
    before = {path: place.content(source, path, form) for path, form in place.paths()}
    with (place.lab.agent_socket(target).parent / "failpoints").open("a") as file:
        file.write(f"hears grant=exec {KILL}\n")
    place.move(source, target, post_copy_after=0).end("aborted", 120)
    shown = place.show(source)
    assert shown is not None
    assert shown["state"] == "running"
    wait_until(lambda: place.show(target) is None, f"{target} has dropped its copy")
    assert not place.files(target) & place.names()
    assert {path: place.content(source, path, form) for path, form in place.paths()} == before
    place.move(source, target, post_copy_after=0).end("done", 120)
    place.demand_equal(source, target)


@pytest.mark.slow
def test_memory_and_disks_may_both_follow(labs_folder: Path) -> None:
    """For a host that must be left now."""
    lab = Lab(f"b{os.getpid()}")
    lab.up(hosts=2, clients=0, images=("micro",))
    try:
        place = Place(lab, formats=("qcow2",))
        lab.set_rate(50_000_000)
        outcome = place.move("host1", "host2", storage_postcopy=True, post_copy_after=0).end("done", 180)[
            "outcome"
        ]
        assert outcome["serving_s"] > 0
        place.demand_equal("host1", "host2")
    finally:
        lab.down()


@pytest.mark.slow
def test_disks_that_follow_are_pulled_across_a_cut_link(labs_folder: Path) -> None:
    lab = Lab(f"p{os.getpid()}")
    lab.up(hosts=2, clients=0, images=("micro",))
    try:
        place = Place(lab, formats=("qcow2",))
        lab.set_rate(50_000_000)
        move = place.move("host1", "host2", storage_postcopy=True)
        move.until("the pull", lambda record: record["step"] == "pull disks", 120)
        wait_until(lambda: "at risk" in (place.show("host2") or {}).get("reason", ""), "the risk is shown")
        lab.cut("host1--host2")
        seen = move.record()["disks"]["done_bytes"]
        wait_until(lambda: move.record()["step"] == "pull disks", "it waits")
        assert move.record()["disks"]["done_bytes"] <= seen + (8 << 20)
        lab.mend()
        move.end("done", 180)
        place.demand_equal("host1", "host2")
        shown = place.show("host2")
        assert shown is not None
        wait_until(lambda: "at risk" not in (place.show("host2") or {})["reason"], "the risk is over")
    finally:
        lab.down()
