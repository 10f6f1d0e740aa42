"""`make bench`: guests under load, moved by segue, by libvirt and by plain QEMU in turns, as their clients see it.

Exit status 0 if the benchmark ran; whether segue was good enough is said by the verdicts in the report.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from rich.console import Console

from bench import cells, client, clock, figures, plots, report, store, usage
from bench.cells import Cell
from bench.figures import Sample, Samples
from bench.moves import Move, Peer
from bench.surroundings import SURROUNDINGS, surroundings
from bench.world import HOSTS, World, chosen
from segue.errors import SegueError

PAGE_COLUMNS: Final = 190
FAILURES = (SegueError, RuntimeError, OSError, ValueError, subprocess.SubprocessError, TimeoutError)


def main() -> int:
    """Measures what is still missing, writes the report after each move and shows it at the end."""
    options = _options()
    _end_politely()
    console = Console(stderr=True, highlight=False)
    try:
        wanted = cells.choose("quick" if options.quick else options.cells)
        if options.list:
            _list(wanted, options)
            return 0
        session = Session(options, console)
        for _, group in itertools.groupby(wanted, key=lambda cell: cell.guest):
            session.measure(list(group), wanted)
    except FAILURES as error:
        console.print(f"[bold red]the benchmark did not run to its end:[/] {error}")
        console.print("What was measured is kept; go on with --resume.")
        return 1
    except KeyboardInterrupt:
        console.print("Cut off; what was measured is kept. Go on with --resume.")
        return 130
    session.show()
    return 0


def _end_politely() -> None:
    """On SIGTERM the lab is taken down, as when the benchmark is cut off by hand."""
    own = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != own:
            # A child that a library forked has this handler, too, and is ended by this signal.
            os._exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def _list(wanted: list[Cell], options: argparse.Namespace) -> None:
    for cell in wanted:
        sys.stdout.write(f"{cell.name:28} {', '.join(chosen(cell, options.peers))}\n")


class Session:
    """One call of the benchmark: it adds samples to those that are there."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._runs = 2 if options.quick else options.runs
        self._console = console
        if not options.resume:
            store.begin()
        before = store.load()
        self._samples: Samples = before.get("samples", [])
        self._kept = {name: before[name] for name in SURROUNDINGS if name in before}
        self._clock = clock.Left(self._samples)

    def measure(self, group: list[Cell], wanted: list[Cell]) -> None:
        """All cells of one kind of guest; without a lab where nothing is missing."""
        if not any(list(self._missing(cell)) for cell in group):
            return
        with World(self._options.lab, group[0], self._say, keep=self._options.keep) as world:
            self._kept = surroundings(world)
            for cell in group:
                world.set_link(cell)
                for run, name in self._missing(cell):
                    left = [(each, peer) for each in wanted for _, peer in self._missing(each)]
                    self._measure(world, cell, world.peers[name], run, left)

    def _missing(self, cell: Cell) -> Iterator[tuple[int, str]]:
        peers = chosen(cell, self._options.peers)
        return iter(list(cells.turns(peers, self._runs, store.done(self._samples, cell.name))))

    def _measure(self, world: World, cell: Cell, peer: Peer, run: int, left: list[tuple[Cell, str]]) -> None:
        begun_s = time.monotonic()
        sample = {"cell": cell.name, "peer": peer.name, "run": run, **_sample(world, cell, peer)}
        self._clock.took(sample, time.monotonic() - begun_s)
        self._samples.append(sample)
        self._write()
        rest = clock.said(self._clock.left_s(left[1:]))
        self._say(f"{report.line(sample)}  {len(left) - 1} to go, {rest}")

    def _write(self) -> None:
        store.write(report.make(self._samples, self._kept))

    def show(self) -> None:
        """The tables, and the pictures beside the report."""
        data = report.make(self._samples, self._kept)
        store.write(data)
        pictures = plots.draw(data, store.PLACE.parent)
        console = Console(highlight=False)
        # Folded into a narrow page the tables cannot be read.
        console.width = max(console.width, PAGE_COLUMNS)
        report.show(data, console)
        self._say(f"Every sample is in {store.PLACE}, pictures in {pictures}.")

    def _say(self, text: str) -> None:
        self._console.print(f"  [dim]{text}[/]")


def _sample(world: World, cell: Cell, peer: Peer) -> Sample:
    """One move of a guest under load, seen by its client; the guests of the others are idle meanwhile."""
    lab, link = world.lab, world.link_bytes_per_s(cell)
    rate = int(link * cell.dirty_percent / 100)
    others = {each.guest_name for each in world.peers.values()} - {peer.guest_name}
    source, target = peer.host, next(host for host in HOSTS if host != peer.host)
    busy = os.getloadavg()[0]
    client.set_dirty_rate(lab, peer.address, rate)
    before = client.written_bytes(lab, peer.address)
    try:
        with client.watching(lab, peer.address) as watch:
            counts = usage.read(lab, HOSTS, others)
            move = peer.move(target)
            used = usage.read(lab, HOSTS, others).since(counts)
    finally:
        after = client.written_bytes(lab, peer.address)
        client.set_dirty_rate(lab, peer.address, 0)
    return {
        "memory_bytes": cell.memory_bytes,
        "dirty_percent": cell.dirty_percent,
        "link_bits_per_s": cell.link_bits_per_s,
        "link_bytes_per_s": link,
        "dirty_bytes_per_s": rate,
        "written_bytes_per_s": (after[0] - before[0]) / max(after[1] - before[1], 1e-3),
        "source": source,
        "target": target,
        "load_average": round(busy, 2),
        **figures.of_move(move, watch.seen),
        **msgspec.to_builtins(used),
        "foreseen": move.details.get("foreseen"),
        "move": _told(move),
        "client": figures.short(watch.seen),
    }


def _told(move: Move) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(move)
    return told


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--cells",
        default="core",
        help="what to measure: core, all, quick, names or patterns as 'idle-*', by comma",
    )
    parser.add_argument("--runs", type=int, default=10, help="moves of each peer in each cell")
    parser.add_argument("--peers", default="", help="only these peers: names or patterns, by comma")
    parser.add_argument("--quick", action="store_true", help="two cells, two runs: shows that it works")
    parser.add_argument("--resume", action="store_true", help="go on with the samples that are there")
    parser.add_argument("--list", action="store_true", help="show cells and peers, measure nothing")
    parser.add_argument("--lab", default="bench", help="the lab's name")
    parser.add_argument("--keep", action="store_true", help="leave the last lab up, to look around")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
