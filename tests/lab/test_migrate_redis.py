"""A guest under Redis traffic moves to and fro: no acknowledged write, connection or packet is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from segue.lab.api import Lab

pytestmark = pytest.mark.lab
HOPS = int(os.environ.get("SEGUE_HOPS", "4"))
ADDRESS = "10.77.100.1"
BOOT_S = 90.0
PROBES = {
    "redis": [f"{ADDRESS}:6379", "--connections", "2", "--interval", "5ms"],
    "udp": [f"{ADDRESS}:7000", "--rate", "500"],
    "tcp": [f"{ADDRESS}:7001", "--interval", "20ms"],
}


@pytest.fixture
def lab(labs_folder: object) -> Iterator[Lab]:
    made = Lab(f"r{os.getpid()}")
    made.up(hosts=2, clients=1)
    made.wait_for_agents(["host1", "host2"], BOOT_S)
    yield made
    made.down()


def segue(lab: Lab, *words: str) -> Any:
    done = lab.exec("client1", ["segue", *words, "-o", "json"], timeout=120.0)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Probe:
    """One probe on the client machine."""

    def __init__(self, lab: Lab, kind: str) -> None:
        argv = ["segue", "probe", kind, *PROBES[kind], "-o", "json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._process = lab.popen("client1", argv, **pipes)
        errors = self._process.stderr
        assert errors is not None
        words = [errors.readline()]
        while words[-1] and not words[-1].startswith("ready"):
            words.append(errors.readline())
        assert words[-1].startswith("ready"), words

    def account(self) -> dict[str, Any]:
        """Ends it; what it saw."""
        self._process.send_signal(signal.SIGINT)
        out, error = self._process.communicate(timeout=60.0)
        assert out, error
        seen: dict[str, Any] = json.loads(out)
        return seen


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * HOPS)
def test_nothing_is_lost_in_many_moves(lab: Lab) -> None:
    segue(
        lab,
        "vm",
        "create",
        "db1",
        "--host",
        "host1",
        "--address",
        f"{ADDRESS}/16",
        "--cmdline",
        "segue.redis=1",
    )
    wait_for_redis(lab)
    probes = {kind: Probe(lab, kind) for kind in PROBES}
    blackouts_ms = []
    for hop in range(HOPS):
        record = segue(lab, "migrate", "db1", "--to", ("host2", "host1")[hop % 2], "--max-blackout", "2s")
        assert record["stage"] == "done", record["failure"]
        blackouts_ms.append(record["outcome"]["blackout_s"] * 1e3)
    seen = {kind: probe.account() for kind, probe in probes.items()}
    print(f"{HOPS} hops, blackout ms: {[round(ms, 1) for ms in blackouts_ms]}")
    for kind, account in seen.items():
        print(kind, {key: account[key] for key in ("sent", "received", "lost", "failed", "longest_gap_s")})
        assert account["received"] > 100 * HOPS / 4
        assert account["lost"] == 0, kind
        assert account["duplicated"] == 0, kind
        assert account["failed"] == 0, kind
        assert account["broken_connections"] == 0, kind
        assert account["lost_writes"] == 0, kind


def wait_for_redis(lab: Lab) -> None:
    done = lab.exec(
        "client1",
        ["sh", "-c", f"until redis-cli -h {ADDRESS} ping | grep -q PONG; do sleep 0.2; done"],
        timeout=BOOT_S,
    )
    assert done.returncode == 0
