"""How long a drain takes beside what its link allows: real guests leave one host over a shaped link, by a controller.

It measures the whole of it, from the wish to the end of the task; nothing but the memory in use at the start is counted
as what had to travel.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue import __version__
from segue.adapters import system
from segue.cli.fleet import Host
from segue.errors import SegueError
from segue.lab import rates
from segue.lab.api import Lab

LAB: Final = "bench-drain"
HOSTS: Final = ("host1", "host2", "host3")
PLACE: Final = Path("out/bench/drain.json")
RATIO: Final = 1.3
WAIT_S: Final = 180.0
LOOK_S: Final = 0.1
MIB: Final = 1 << 20


@dataclass(frozen=True)
class Wish:
    """What is measured."""

    guests: int
    memory_mib: int
    working_set_mib: int
    link_bits_per_s: int
    parallel: int
    runs: int


class Bench:
    """One lab with a controller; its guests go from host1, and come back for the next run."""

    def __init__(self, lab: Lab, wish: Wish) -> None:
        self.lab = lab
        self.wish = wish
        self._written: int | None = None

    def up(self) -> None:
        """The hosts, the guests with their memory written, and the link as slow as it shall be."""
        self.lab.up(hosts=len(HOSTS), clients=1, controllers=1)
        self.lab.wait_for_services()
        wait(lambda: self._segue("status")["hosts_up"] == len(HOSTS), "all hosts are connected")
        for number in range(1, self.wish.guests + 1):
            body = {
                "name": f"g{number}",
                "image": "micro",
                "memory_bytes": self.wish.memory_mib * MIB,
                "address": f"10.77.100.{number}/16",
                "cmdline": f"segue.dirty=1M/{self.wish.working_set_mib}M",
            }
            self._agent("host1").call("POST", "/guests", body)
        least = self.wish.guests * self.wish.working_set_mib * MIB
        wait(lambda: sum(self._held("host1")) > least, "the guests have written their memory")
        wait(lambda: self._segue("status")["guests_running"] == self.wish.guests, "they are reported")
        for host in HOSTS:
            self.lab.set_rate(self.wish.link_bits_per_s, host)

    def run(self, source: str, others: tuple[str, ...]) -> dict[str, Any]:
        """One drain, and what it took."""
        for host in HOSTS:
            self._segue("host", "uncordon" if host in others else "cordon", host)
        held, sent = sum(self._held(source)), self._sent(source)
        # A guest that has arrived holds its empty pages, too: what it wrote is what it held before its first move.
        self._written = min(held, held if self._written is None else self._written)
        wish = ("host", "drain", source, "--parallel", str(self.wish.parallel), "--max-blackout", "5s")
        task = self._segue(*wish)
        done = [
            m for m in self._agent(source).call("GET", "/migrations") if m["started_s"] >= task["created_s"]
        ]
        makespan_s, least_s = (
            task["ended_s"] - task["created_s"],
            self._written * 8 / self.wish.link_bits_per_s,
        )
        return {
            "source": source,
            "state": task["state"],
            "guests": len(task["moved"]),
            "held_bytes": held,
            "written_bytes": self._written,
            "sent_bytes": self._sent(source) - sent,
            "link_bits_per_s": self.wish.link_bits_per_s,
            "least_s": round(least_s, 3),
            "makespan_s": round(makespan_s, 3),
            "ratio": round(makespan_s / least_s, 3),
            "moves": [
                {
                    "guest": m["guest"],
                    "target": m["target"],
                    "begins_s": round(m["started_s"] - task["created_s"], 2),
                    "ends_s": round(m["ended_s"] - task["created_s"], 2),
                    "blackout_s": m["outcome"]["blackout_s"],
                }
                for m in sorted(done, key=lambda m: float(m["started_s"]))
            ],
        }

    def back(self) -> None:
        """All guests to host1 again, as fast as the machine can."""
        for host in HOSTS:
            self.lab.set_rate(None, host)
        self._segue("host", "uncordon", "host1")
        self._segue("host", "drain", *HOSTS[1:], "--max-blackout", "5s")
        for host in HOSTS:
            self.lab.set_rate(self.wish.link_bits_per_s, host)

    def _segue(self, *words: str) -> Any:
        done = self.lab.exec("client1", ["segue", *words, "--json"], timeout=600.0)
        if done.returncode != 0:
            raise RuntimeError(f"segue {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def _agent(self, host: str) -> Host:
        return Host(host, f"unix://{self.lab.agent_socket(host)}")

    def _held(self, host: str) -> list[int]:
        """Memory that each guest of the host really uses."""
        found = [
            pid for pid in self.lab.host_pids(host) if b"-S\0" in _command(pid) or b"guest=" in _command(pid)
        ]
        return [system.resident_memory_bytes(pid) for pid in found]

    def _sent(self, host: str) -> int:
        """Bytes that left by its cable so far."""
        lines = Path(f"/proc/{self.lab.host_pids(host)[0]}/net/dev").read_text().splitlines()
        row = next(line for line in lines if line.strip().startswith("uplink0:"))
        return int(row.partition(":")[2].split()[8])


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait(met: Callable[[], object], what: str) -> None:
    """Raises RuntimeError when it takes too long."""
    until_s = time.monotonic() + WAIT_S
    while not _holds(met):
        if time.monotonic() > until_s:
            raise RuntimeError(f"not within {WAIT_S:.0f} s: {what}")
        time.sleep(LOOK_S)


def _holds(met: Callable[[], object]) -> object:
    try:
        return met()
    except (SegueError, RuntimeError):
        return False


def report(samples: list[dict[str, Any]], wish: Wish) -> dict[str, Any]:
    """With the verdict that the samples give; the worst run counts."""
    worst = max(sample["ratio"] for sample in samples)
    moved = all(sample["state"] == "done" and sample["guests"] == wish.guests for sample in samples)
    verdicts = [
        {"name": "makespan / (memory in use / link)", "target": RATIO, "value": worst, "unit": "times",
         "holds": worst <= RATIO},
        {"name": "runs that emptied the host", "target": len(samples),
         "value": sum(s["state"] == "done" for s in samples), "unit": "runs", "holds": moved},
    ]  # fmt: skip
    machine = {"cpus": system.cpus(), "kernel": platform.release(), "name": socket.gethostname()}
    return {
        "what": "a host with running guests is drained over a shaped link by a controller",
        "versions": {"segue": __version__},
        "machine": machine,
        "wish": wish.__dict__,
        "verdicts": verdicts,
        "samples": samples,
    }


def measure(wish: Wish) -> list[dict[str, Any]]:
    """All runs in one lab."""
    lab = Lab(LAB, on_progress=lambda text: print(f"  {text}", file=sys.stderr))
    bench, samples = Bench(lab, wish), list[dict[str, Any]]()
    try:
        bench.up()
        for number in range(wish.runs):
            if number:
                bench.back()
            samples.append(bench.run("host1", HOSTS[1:]))
            last = samples[-1]
            print(
                f"  run {number + 1}: {last['makespan_s']:.1f} s, bound {last['least_s']:.1f} s",
                file=sys.stderr,
            )
    finally:
        lab.down()
    return samples


def main() -> int:
    """Measures, writes the report, prints its verdicts."""
    parser = argparse.ArgumentParser(prog="python -m bench.drain", description=__doc__)
    parser.add_argument("--guests", type=int, default=6)
    parser.add_argument("--memory-mib", type=int, default=640)
    parser.add_argument("--working-set-mib", type=int, default=384)
    parser.add_argument("--link", default="1gbit")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    told = parser.parse_args()
    link = rates.parse(told.link) or 0
    wish = Wish(told.guests, told.memory_mib, told.working_set_mib, link, told.parallel, told.runs)
    made = report(measure(wish), wish)
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(made, indent=1) + "\n")
    for verdict in made["verdicts"]:
        holds = "holds" if verdict["holds"] else "missed"
        print(
            f"{verdict['name']}: {verdict['value']} {verdict['unit']} (target {verdict['target']}): {holds}"
        )
    print(f"Every figure is in {PLACE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
