"""A database under load, its log on one local disk and its data on another, moves to and fro: no commit is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from segue.lab.api import Lab
from tests.lab.database import BALANCES, PACKAGES, Bench, Ledger, Server
from tests.lab.inside import Shell
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
HOPS: Final = int(os.environ.get("SEGUE_HOPS", "3"))
HOSTS: Final = ("host1", "host2")
GUEST: Final = "db1"
ADDRESS: Final = "10.77.100.1"
DISKS: Final = "/var/lib/segue/disks"
RATE_PER_S: Final = 20
BOOT_S: Final = 240.0
BUDGET: Final = ("--max-blackout", "3s", "--deadline", "5m")
STOPPED: Final = "systemctl stop segue-postgres"
CHECKSUMS: Final = "/usr/lib/postgresql/17/bin/pg_checksums --check -D /var/lib/postgresql/17/main"


@pytest.fixture
def lab(labs_folder: object) -> Iterator[Lab]:
    made = Lab(f"p{os.getpid()}", packages=PACKAGES)
    made.up(hosts=2, clients=1, images=("postgres",))
    made.wait_for_agents(HOSTS, BOOT_S)
    yield made
    made.down()


@dataclass
class Hops:
    """What the migrations say of themselves."""

    blackouts_s: list[float]
    totals_s: list[float]


def segue(lab: Lab, *words: str) -> Any:
    done = lab.exec("client1", ["segue", *words, "-o", "json"], timeout=400.0)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
    return json.loads(done.stdout)


def create(lab: Lab) -> None:
    place = ("--image", "postgres", "--address", f"{ADDRESS}/16", "--storage", "local")
    segue(
        lab, "vm", "create", GUEST, "--host", HOSTS[0], *place, "--disk", "size=1GiB,format=raw,storage=local"
    )


def move(lab: Lab, times: int) -> Hops:
    seen = Hops([], [])
    for hop in range(times):
        record = segue(lab, "migrate", GUEST, "--to", HOSTS[(hop + 1) % 2], *BUDGET)
        assert record["stage"] == "done", record["failure"]
        assert len(record["copies"]) == 2, record["copies"]
        outcome = record["outcome"]
        seen.blackouts_s.append(outcome["blackout_s"])
        seen.totals_s.append(outcome["total_s"])
        print(
            f"hop {hop + 1}: blackout {outcome['blackout_s']:.3f} s, total {outcome['total_s']:.1f} s",
            flush=True,
        )
    return seen


@pytest.mark.timeout(900 + 90 * HOPS)
def test_a_busy_database_loses_nothing_in_many_moves(lab: Lab, tmp_path: Path) -> None:
    create(lab)
    server = Server(lab, ADDRESS)
    server.wait(BOOT_S)
    assert server.ask("SHOW fsync; SHOW data_checksums") == [["on"], ["on"]]
    ledger, bench = Ledger(lab, server), Bench(lab, server, tmp_path, RATE_PER_S)
    ledger.start()
    seen = move(lab, HOPS)
    ledger.stop()
    account = bench.account()
    print(
        f"blackout {min(seen.blackouts_s):.3f} to {max(seen.blackouts_s):.3f} s, {len(ledger.known)} commits"
    )
    print(f"longest commit {ledger.longest_s:.2f} s\n{account.words[-900:]}")
    assert account.failed == 0
    assert account.processed > HOPS * RATE_PER_S
    demand_all(server, account.processed, ledger.known)
    lost_power(lab, server)
    # From here on everything is read from the disks: what the guest had in memory is gone.
    demand_all(server, account.processed, ledger.known)
    server.check()
    demand_whole_disks(lab, HOSTS[HOPS % 2])


def demand_all(server: Server, processed: int, known: list[int]) -> None:
    """Every commit that a client knows of is there once, and no half of one."""
    accounts, tellers, branches, history, count = map(int, server.ask(BALANCES)[0])
    assert accounts == tellers == branches == history
    assert count == processed
    there = [int(row[0]) for row in server.ask("SELECT number FROM ledger ORDER BY number")]
    assert there == known


def lost_power(lab: Lab, server: Server) -> None:
    """The guest is ended between two instructions and starts from its disks."""
    segue(lab, "vm", "stop", GUEST, "--timeout", "0s")
    segue(lab, "vm", "start", GUEST)
    server.wait(BOOT_S)


def demand_whole_disks(lab: Lab, host: str) -> None:
    """Checksums of every block, the images' own tables, and no file but what should be there."""
    shell = Shell(lab.agent_socket(host).parent / "guests" / GUEST / "console.sock")
    said = shell.run(f"{STOPPED} && runuser -u postgres -- {CHECKSUMS} && sync")
    shell.close()
    assert "Bad checksums:  0" in said, said
    segue(lab, "vm", "stop", GUEST, "--timeout", "0s")
    mine = [name for name in files(lab, host) if ".moved-" not in name]
    assert sorted(Path(name).suffix for name in mine) == [".qcow2", ".raw"], mine
    overlay = next(name for name in mine if name.endswith(".qcow2"))
    lab.exec(host, ["qemu-img", "check", "-q", overlay], check=True)
    # One whose time is over may go between two looks.
    wait_until(lambda: left(lab) == [*kept(lab), *mine], "no file is left but those that are kept")


def left(lab: Lab) -> list[str]:
    """Every file in the folders of local disks, those of moved guests first."""
    every = [name for host in HOSTS for name in files(lab, host)]
    return sorted(every, key=lambda name: (".moved-" not in name, name))


def kept(lab: Lab) -> list[str]:
    """The files that the agents know they keep."""
    return sorted(disk["path"] for disk in segue(lab, "disk", "kept"))


def files(lab: Lab, host: str) -> list[str]:
    """Everything in the host's folder of local disks, in order."""
    return sorted(lab.exec(host, ["find", DISKS, "-type", "f"], check=True).stdout.split())
