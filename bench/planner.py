"""`make bench-planner`: segue's planners and Ganeti's hbal on the same clusters, both judged by hbal's own score.

Exit status 0 if it ran; whether the planners were good enough is said by the verdicts in the report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import planner_clusters as clusters
from bench import planner_hbal as hbal
from bench import planner_verdicts, store
from bench.planner_verdicts import Sample, Samples
from segue import __version__

PLACE: Final = Path("out/bench/planner.json")
HBAL_STEPS_S: Final = 280.0
ENDLESS: Final = 10**9
TASKS: Final = ("moves", "guest", "converge", "loaded", "drain", "audit")
EXPLAINED: Final = {
    "score": "hbal's: weighted standard deviations over all hosts; it scores segue's placement as it scores its own",
    "moves": "each planner makes so many moves by itself, from the same placement",
    "one guest": "a full step of hbal takes hours here: it is asked for one guest alone, that of segue's best move",
    "converge": "segue moves until no move lowers hbal's score times the hosts by 0.001",
    "loaded": "converge, where each guest has a load of its own; the score is segue's, by the formula of hbal",
    "drain": "all guests of a rack of 40 hosts; link_s: the bytes of the busiest link over its speed",
    "audit": "every host and every rack is asked whether it could be emptied; moves: of all answers together",
    "time": "segue: the whole process for processor time, the planning alone for plan_s; hbal: the whole process",
}


def main() -> int:
    """Measures, writes the report after each sample and shows it at the end."""
    options = _options()
    console = Console(stderr=True, highlight=False)
    if not hbal.available():
        console.print("hbal is missing: apt-get install ganeti-htools")
        return 1
    if not options.resume:
        store.begin(PLACE)
    session = Session(options, console)
    for hosts in options.sizes:
        session.measure(hosts)
    show(session.report(), Console(highlight=False, width=150))
    return 0


class Session:
    """One call of the benchmark: it adds samples to those that are there."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options, self._console = options, console
        self._samples: Samples = _earlier()

    def measure(self, hosts: int) -> None:
        """Everything for clusters of one size."""
        for seed in self._options.seeds:
            with tempfile.TemporaryDirectory(prefix="segue-bench-") as folder:
                cluster = Cluster(hosts, seed, Path(folder))
                for task, measure in self._tasks(hosts).items():
                    if task in self._options.tasks:
                        measure(cluster)

    def _tasks(self, hosts: int) -> dict[str, Callable[[Cluster], None]]:
        if hosts <= clusters.LOADED_MOST:
            return {"moves": self._moves, "converge": self._converge}
        return {
            "guest": self._one_guest,
            "converge": self._converge,
            "loaded": self._loaded,
            "drain": lambda cluster: self._add(cluster, "drain", "segue", cluster.run("drain")),
            "audit": lambda cluster: self._add(cluster, "audit", "segue", cluster.run("audit")),
        }

    def report(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "what": "planners on generated clusters, judged by hbal's score",
            "explained": EXPLAINED,
            "machine": {
                "cpus": os.cpu_count(),
                "kernel": platform.release(),
                "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            },
            "versions": {
                "segue": __version__,
                "hbal": hbal.version(),
                "python": platform.python_version(),
            },
            "verdicts": planner_verdicts.of_samples(self._samples),
            "samples": self._samples,
        }

    def _moves(self, cluster: Cluster) -> None:
        """The same number of moves by each."""
        most = self._options.moves
        for _ in range(self._options.runs):
            ours = cluster.run("balance", most)
            self._add(cluster, "moves", "segue", {**ours, "score_after": cluster.judged()})
        theirs = hbal.moves(cluster.data, cluster.loads, most, "", HBAL_STEPS_S)
        self._add(cluster, "moves", "hbal", {**theirs, "asked": most})

    def _one_guest(self, cluster: Cluster) -> None:
        """One move, of the guest that segue would move first."""
        guest = cluster.run("balance", 1)["first"]
        ours = cluster.run("balance", 1, guest)
        self._add(cluster, "one guest", "segue", {**ours, "score_after": cluster.judged()})
        theirs = hbal.moves(cluster.data, cluster.loads, 1, guest, HBAL_STEPS_S)
        self._add(cluster, "one guest", "hbal", {**theirs, "guest": guest})

    def _converge(self, cluster: Cluster) -> None:
        for _ in range(self._options.runs):
            found = cluster.run("balance")
            self._add(cluster, "converge", "segue", {**found, "score_after": cluster.judged()})

    def _loaded(self, cluster: Cluster) -> None:
        """hbal would read the loads for longer than anybody waits: the score is segue's, by the same formula."""
        for _ in range(self._options.runs):
            found = cluster.run("loaded")
            scores = {"score_before": found["own_before"], "score_after": found["own_after"]}
            self._add(cluster, "loaded", "segue", {**found, **scores})

    def _add(self, cluster: Cluster, task: str, planner: str, found: Sample) -> None:
        about = {"task": task, "planner": planner, "hosts": cluster.hosts, "guests": cluster.guests}
        judged = task not in {"drain", "audit", "loaded"}
        before = {"score_before": cluster.score_before()} if judged else {}
        self._samples.append({**about, "seed": cluster.seed, **before, **found})
        store.write(self.report(), PLACE)
        self._console.print(_line(self._samples[-1]))


class Cluster:
    """One generated cluster, as files for hbal."""

    def __init__(self, hosts: int, seed: int, folder: Path) -> None:
        fleet = clusters.of(hosts, seed)
        self.hosts, self.guests, self.seed, self._folder = hosts, len(fleet.guests), seed, folder
        self.data = folder / "before.data"
        self.loads = None if clusters.is_without_load(fleet) else folder / "loads"
        where = {guest.name: guest.host for guest in fleet.guests}
        self.data.write_text("\n".join(clusters.data(fleet, where)) + "\n")
        if self.loads:
            self.loads.write_text("\n".join(clusters.loads(fleet)) + "\n")
        self._score_before: float | None = None

    def score_before(self) -> float:
        """hbal's, of the cluster as it was made."""
        if self._score_before is None:
            self._score_before = hbal.score(self.data, self.loads)
        return self._score_before

    def judged(self) -> float:
        """hbal's, of what segue made of it last."""
        return hbal.score(self._folder / "ours.data", self.loads)

    def run(self, kind: str, moves: int = ENDLESS, only: str = "") -> Sample:
        """One run of segue's planner, in a process of its own."""
        command = [sys.executable, "-m", "bench.planner_run", kind, str(self.hosts), str(self.seed)]
        command += [str(self._folder), str(moves), only]
        found: Sample = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return found


def show(data: dict[str, Any], console: Console) -> None:
    """One table of what each planner did, then the verdicts."""
    columns = (
        "hosts",
        "seed",
        "what",
        "planner",
        "moves",
        "score before",
        "after",
        "time s",
        "CPU s",
        "peak MB",
    )
    table = Table(*columns, title="Planners: hbal's score, time, memory")
    for sample in data["samples"]:
        table.add_row(*_cells(sample))
    console.print(table)
    verdicts = Table("", "target", "measured", "")
    for verdict in data["verdicts"]:
        sign = "[green]holds[/]" if verdict["holds"] else "[red]MISSED[/]"
        verdicts.add_row(
            verdict["name"], f"{verdict['target']:g}", f"{verdict['value']:g} {verdict['unit']}", sign
        )
    console.print(verdicts)
    console.print(f"Every figure is in {PLACE}.")


def _cells(sample: Sample) -> tuple[str, ...]:
    before, after = sample.get("score_before"), sample.get("score_after")
    return (
        str(sample["hosts"]),
        str(sample["seed"]),
        sample["task"],
        sample["planner"] if sample.get("ended", True) else f"{sample['planner']}, cut off",
        str(sample["moves"]),
        "" if before is None else f"{before:.4f}",
        "" if after is None else f"{after:.4f}",
        f"{sample.get('plan_s', sample.get('wall_s', 0.0)):.3f}",
        f"{sample.get('process_cpu_s', sample.get('cpu_s', 0.0)):.2f}",
        f"{sample['peak_bytes'] / 1e6:.0f}",
    )


def _line(sample: Sample) -> str:
    return "  ".join(_cells(sample))


def _earlier() -> Samples:
    try:
        found: Samples = json.loads(PLACE.read_text())["samples"]
    except FileNotFoundError:
        return []
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-planner ARGS=...", description=__doc__)
    parser.add_argument("--sizes", type=_numbers, default=[100, 1000, 4000], help="hosts, by comma")
    parser.add_argument("--seeds", type=_numbers, default=[1], help="clusters of each size, by comma")
    parser.add_argument("--moves", type=int, default=10, help="moves that both planners make at 100 hosts")
    parser.add_argument("--tasks", type=_words, default=TASKS, help=f"out of {','.join(TASKS)}")
    parser.add_argument("--runs", type=int, default=3, help="runs of segue for each figure")
    parser.add_argument("--resume", action="store_true", help="add to the samples that are there")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(TASKS):
        raise argparse.ArgumentTypeError(f"no such task: {', '.join(sorted(unknown))}")
    return chosen


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
