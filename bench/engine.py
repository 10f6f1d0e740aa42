"""`python -m bench.engine`: the same guest under the same load, moved by plain QEMU and by segue in turns.

Exit status 0 if the benchmark ran; whether segue was good enough is said by the verdicts in the report.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any, Final

import msgspec
from rich.console import Console

from bench import client, report
from bench.moves import Move, Peer
from bench.ours import Ours
from bench.plain import Plain, PlainGuest
from segue.cli import values
from segue.errors import SegueError
from segue.lab.api import Lab
from segue.model.guest import Guest

LIMITS_MS: Final = (10, 1)
"""Downtime limits that plain QEMU is tried with; its best is what segue is measured by."""
HOSTS: Final = ("host1", "host2")
ADDRESSES: Final = ("10.77.100.1", "10.77.100.2")
PLAIN_MAC: Final = "52:54:00:be:c4:02"
PLAIN_UUID: Final = "9d3c2f4e-5a10-4d5b-8c11-7a4e5e6b2d01"


def main() -> int:
    """Makes the lab, measures, writes the report and shows it."""
    options = _options()
    console = Console(stderr=True, highlight=False)
    lab = Lab(options.lab, on_progress=lambda text: console.print(f"  [dim]{text}[/]"))
    begun_s = time.monotonic()
    try:
        lab.down()
        lab.up(hosts=len(HOSTS), clients=1, images=["micro"])
        lab.wait_for_agents()
        data = _measure(lab, options, console)
    except (SegueError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        console.print(f"[bold red]the benchmark did not run:[/] {error}")
        return 1
    finally:
        if not options.keep:
            lab.down()
    data["elapsed_s"] = round(time.monotonic() - begun_s, 1)
    report.write(data)
    report.show(data, Console(highlight=False))
    return 0


def _measure(lab: Lab, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    memory_bytes = values.size_bytes(options.memory)
    ours = Ours(lab, ADDRESSES[0], memory_bytes, HOSTS[0])
    plain = PlainGuest(lab, _twin(msgspec.convert(ours.spec, Guest)), HOSTS[0])
    peers: list[Peer] = [Plain(plain, f"plain {ms} ms", ms, safe=False) for ms in LIMITS_MS]
    peers += [Plain(plain, f"plain-safe {LIMITS_MS[-1]} ms", LIMITS_MS[-1], safe=True), ours]
    for address in ADDRESSES:
        client.wait_for_guest(lab, address)
    samples = []
    for load in options.dirty.split(","):
        for run in range(options.runs):
            for peer in peers[run % len(peers) :] + peers[: run % len(peers)]:
                samples.append(_sample(lab, peer, load, run))
                console.print(report.line(samples[-1]))
    return report.make(samples, [peer.name for peer in peers], report.surroundings(lab, ours, plain))


def _twin(guest: Guest) -> Guest:
    """The same machine with a name, a number and addresses of its own."""
    nic = replace(guest.nics[0], mac=PLAIN_MAC, address=f"{ADDRESSES[1]}/16")
    return replace(guest, name="bench-plain", uuid=PLAIN_UUID, nics=(nic,))


def _sample(lab: Lab, peer: Peer, load: str, run: int) -> dict[str, Any]:
    """One move of a guest under load, seen by its client; the guests of the others are idle meanwhile."""
    client.set_dirty_rate(lab, peer.address, values.size_bytes(load))
    source, target = peer.host, next(host for host in HOSTS if host != peer.host)
    busy = os.getloadavg()[0]
    try:
        with client.watching(lab, peer.address) as watch:
            move = peer.move(target)
    finally:
        client.set_dirty_rate(lab, peer.address, 0)
    return {
        "peer": peer.name,
        "dirty": load,
        "run": run,
        "source": source,
        "target": target,
        "load_average": round(busy, 2),
        **_figures(move, watch),
        "move": msgspec.to_builtins(move),
        "client": watch.seen,
    }


def _figures(move: Move, watch: client.Watch) -> dict[str, Any]:
    udp, tcp = watch.seen["udp"], watch.seen["tcp"]
    return {
        "blackout_s": move.resumed_at_s - move.stopped_at_s,
        "outage_s": client.outage_s(udp, move.begun_s),
        "lost": udp["lost"],
        "duplicated": udp["duplicated"],
        "reordered": udp["reordered"],
        "worst_tcp_s": tcp["longest_request_s"],
        "broken_connections": tcp["broken_connections"],
        "total_s": move.ended_s - move.begun_s,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="moves of each peer under each load")
    parser.add_argument("--memory", default="256MiB", help="the guest's memory")
    parser.add_argument(
        "--dirty", default="0,50MiB", help="loads: bytes that the guest writes per second, by comma"
    )
    parser.add_argument("--lab", default="bench", help="the lab's name")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, to look around")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
