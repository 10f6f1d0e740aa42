"""The path dies while a copy's connections are made: QEMU would wait as long as TCP does, and the guest with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow

SO_SLOW_BYTES_PER_S = 64 << 10
WRITES = "rate 20000000", "rate 2000000"
"""So much that the forecast, which looks at one page in 64, sees it on a busy machine: more connections than one are
made. And what the guest writes otherwise."""
# What the target lets through of the connections for memory. A SYN has 60 bytes, an ACK 52.
FIRST = "tcp flags syn / syn,ack limit rate 1/hour burst 1 packets ct mark set 1"
NO_OTHER = "tcp flags syn / syn,ack ct mark 0 drop"
NO_WORD_IN_THE_FIRST = "ct mark 1 meta length > 60 drop"
NO_WORD_IN_OTHERS = "ct mark 0 meta length > 60 drop"


@contextmanager
def deaf(scene: Scene, host: str, rules: list[str]) -> Iterator[None]:
    """While it is open, the host hears little of what comes to a QEMU that waits for memory."""
    ports = ", ".join(line.split()[3].rpartition(":")[2] for line in listening(scene, host))
    words = ["add table inet deaf", "add chain inet deaf in { type filter hook input priority 0 ; }"]
    words += [f"add rule inet deaf in tcp dport {{ {ports} }} {rule}" for rule in rules]
    scene.lab.exec(host, ["nft", "-f", "-"], input="\n".join(words) + "\n", check=True)
    try:
        yield
    finally:
        scene.run(host, "nft", "delete", "table", "inet", "deaf")


@contextmanager
def writing_much(scene: Scene) -> Iterator[None]:
    """While it is open, the guest writes more than its path takes."""
    much, again = WRITES
    scene.client.ask(much)
    try:
        yield
    finally:
        scene.client.ask(again)


def listening(scene: Scene, host: str) -> list[str]:
    return [line for line in scene.run(host, "ss", "-Htlnp").splitlines() if f"segue-{GUEST}" in line]


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([FIRST, NO_WORD_IN_THE_FIRST], id="no word in the first", marks=slow),
        pytest.param([FIRST, NO_WORD_IN_OTHERS], id="no word in the second"),
        pytest.param([FIRST, NO_OTHER], id="no second", marks=slow),
    ],
)
@pytest.mark.parametrize("how", ["by itself", pytest.param("cancelled", marks=slow)])
def test_nobody_answers_the_copys_connections(scene: Scene, rules: list[str], how: str) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    halt = scene.halt(source, "begun copy memory")
    with writing_much(scene):
        move = scene.migrate(target, bandwidth_bytes_per_s=SO_SLOW_BYTES_PER_S)
        halt.wait()
    with deaf(scene, target, rules):
        halt.go()
        if how == "cancelled":
            move.until_step("copy memory")
            move.cancel()
        failure = move.end("aborted")["failure"]
    assert how == "cancelled" or "nobody answered" in failure["why"], failure
    scene.demand_calm()
    assert scene.owner() == source
    assert scene.client.uptime_s() > lived_s
    scene.migrate(target).end("done")
    scene.demand_calm()
