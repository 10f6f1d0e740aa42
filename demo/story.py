"""What happens in the demo, told while it happens; every command is one that a user could type."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any, Final

from rich.console import Console

from segue.errors import Kind, Refused
from segue.lab.api import Lab

GUEST: Final = "web1"
ADDRESS: Final = "10.77.100.1"
PROBES: Final = ("udp:7000", "tcp:7001", "http:8080")
CLIENT: Final = "client1"
BOOT_S: Final = 60.0
MOVE_S: Final = 120.0


def tell(lab: Lab, console: Console) -> list[dict[str, Any]]:
    """Sets the scene and moves the guest there and back; the two migrations' records."""
    console.print("[bold]1. Two hosts and a client out of this machine[/]")
    lab.down()
    lab.up(hosts=2, clients=1, images=["micro"])
    lab.wait_for_agents(["host1", "host2"], BOOT_S)
    console.print("[bold]2. A guest with real servers in it, on host1[/]")
    _segue(lab, console, "vm", "create", GUEST, "--host", "host1", "--address", f"{ADDRESS}/16")
    _wait_for_service(lab)
    moves = []
    for number, target in ((3, "host2"), (4, "host1")):
        console.print(f"[bold]{number}. It moves to {target} while the client talks to it[/]")
        moves.append(_move(lab, console, target))
    return moves


def _move(lab: Lab, console: Console, target: str) -> dict[str, Any]:
    probes = [part for probe in PROBES for part in ("--probe", probe)]
    out = _segue(
        lab,
        console,
        "migrate",
        GUEST,
        "--to",
        target,
        "--max-blackout",
        "1s",
        *probes,
        "-o",
        "json",
        limit_s=MOVE_S,
    )
    record: dict[str, Any] = json.loads(out)
    _tell_stages(console, record)
    return record


def _tell_stages(console: Console, record: dict[str, Any]) -> None:
    outcome, progress = record["outcome"], record["progress"]
    foreseen = record["forecast"]
    mib = outcome["transferred_bytes"] / (1 << 20)
    console.print(
        f"   preparation   {outcome['preparation_s'] * 1e3:7.0f} ms  {mib:.0f} MiB in {progress['round']} rounds, "
        f"the guest runs on {record['source']}"
    )
    console.print(
        f"   blackout      {outcome['blackout_s'] * 1e3:7.1f} ms  the guest stands still "
        f"(foreseen: {foreseen['blackout_s'] * 1e3:.0f} ms)"
    )
    console.print(
        f"   post-blackout {outcome['post_blackout_s'] * 1e3:7.0f} ms  it runs on {record['target']}; "
        f"{outcome['frames_steered']} frames were held or forwarded"
    )
    console.print(
        f"   outage        {outcome['outage_s'] * 1e3:7.0f} ms  the longest that a client waited for a reply around it"
    )
    for seen in record["observations"]:
        console.print(
            f"   client {seen['probe']:5}  longest gap {seen['longest_gap_s'] * 1e3:4.0f} ms  {seen['sent']} sent, "
            f"{seen['lost']} lost, {seen['duplicated']} twice, {seen['failed']} failed, "
            f"{seen['broken_connections']} broken connections"
        )


def _wait_for_service(lab: Lab) -> None:
    """Asks the guest's server until it answers: the guest is still booting."""
    argv = ["segue", "probe", "tcp", f"{ADDRESS}:7001", "--duration", "500ms"]
    deadline_s = time.monotonic() + BOOT_S
    while (done := lab.exec(CLIENT, argv, timeout=BOOT_S)).returncode:
        if time.monotonic() > deadline_s:
            raise Refused(
                what="the guest does not answer",
                why=done.stderr.strip(),
                todo="Run `make demo ARGS=--keep` and look at its console: segue lab exec --name demo client1 -- "
                f"segue vm console {GUEST} --log",
                kind=Kind.TIMEOUT,
            )


def _segue(lab: Lab, console: Console, *words: str, limit_s: float = 60.0) -> str:
    """Runs segue on the client machine, as its operator would."""
    console.print(f"   [cyan]$ segue {' '.join(words)}[/]")
    done: subprocess.CompletedProcess[str] = lab.exec(CLIENT, ["segue", *words], timeout=limit_s)
    if done.returncode:
        raise Refused(
            what=f"`segue {' '.join(words)}` failed with exit code {done.returncode}",
            why=done.stderr.strip() or done.stdout.strip(),
            todo="Run `make demo ARGS=--keep`, then the command by hand on client1.",
            kind=Kind.CONFLICT,
        )
    return done.stdout
