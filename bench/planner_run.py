"""One run of segue's own planners on one cluster, in a process of its own, so that its memory and time are its own.

`python -m bench.planner_run balance|loaded|drain|audit HOSTS SEED FOLDER [MOVES] [ONLY]` prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench import planner_clusters as clusters
from segue.model.balance import BalanceSettings, Prices, Temper, Weights
from segue.model.fleet import Fleet
from segue.policy import audit, balance, drain

ENDLESS: Final = 10**9
GAIN_LEAST: Final = 1e-3
"""Of hbal's score times the hosts: a move that brings less is none."""


def main() -> int:
    """Builds the cluster, plans, and says what it took."""
    kind, hosts, seed, folder, *rest = sys.argv[1:]
    moves = int(rest[0]) if rest else ENDLESS
    size, number = int(hosts), int(seed)
    fleet = clusters.loaded(size, number) if kind == "loaded" else clusters.of(size, number)
    if kind in {"balance", "loaded"}:
        found = _balanced(fleet, moves, rest[1] if len(rest) > 1 else "", folder)
    else:
        found = _drained(fleet) if kind == "drain" else _audited(fleet)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["process_cpu_s"] = used.ru_utime + used.ru_stime
    found["peak_bytes"] = used.ru_maxrss * 1024
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def settings(fleet: Fleet, moves: int) -> BalanceSettings:
    """The balancer's own, with hbal's weights and with nothing that hbal does not know: prices, marks, peaks."""
    weights = Weights(
        memory=(clusters.HOST_MIB - clusters.OWN_MIB) / clusters.HOST_MIB,
        vcpus=clusters.VCPU_RATIO,
        cpu_load=clusters.CPUS * (3.0 if clusters.is_without_load(fleet) else 1.0),
        network_load=1.0,
    )
    return BalanceSettings(
        weights=weights,
        prices=Prices(0.0, 0.0, 0.0),
        start_at=0.0,
        stop_at=0.0,
        margin=0.0,
        gain_least=GAIN_LEAST,
        moves_most=moves,
        cpu_load_most=float(ENDLESS),
    )


def _balanced(fleet: Fleet, moves: int, only: str, folder: str) -> dict[str, Any]:
    """Leaves the placement in the folder, in hbal's format, for hbal to judge."""
    if only:
        pinned = tuple(g if g.name == only else replace(g, pinned="not asked for") for g in fleet.guests)
        fleet = replace(fleet, guests=pinned)
    chosen = settings(fleet, moves)
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    made, _ = balance.plan(fleet, Temper(acting=True), 0.0, chosen)
    took = {"plan_s": time.perf_counter() - begun_s, "plan_cpu_s": time.process_time() - cpu_s}
    where = {guest.name: guest.host for guest in fleet.guests}
    where |= {move.guest: move.target for move in made.plan.moves}
    Path(folder, "ours.data").write_text("\n".join(clusters.data(fleet, where)) + "\n")
    return {
        **took,
        "moves": len(made.plan.moves),
        "first": max(made.plan.moves, key=lambda move: move.gain).guest if made.plan.moves else "",
        "own_before": made.before,
        "own_after": made.after,
    }


def _drained(fleet: Fleet) -> dict[str, Any]:
    """A whole rack."""
    hosts = drain.hosts_of(fleet, "rack", "r1")
    begun_s = time.perf_counter()
    made = drain.plan(fleet, hosts)
    took_s = time.perf_counter() - begun_s
    speed = {host.name: host.link_bytes_per_s for host in fleet.hosts}
    copied: dict[tuple[str, str], int] = {}
    for move in made.moves:
        for end in (("out", move.source), ("in", move.target)):
            copied[end] = copied.get(end, 0) + move.outlook.copied_bytes
    return {
        "plan_s": took_s,
        "hosts_emptied": len(hosts),
        "moves": len(made.moves),
        "staying": len(made.staying),
        "makespan_s": made.total_s,
        "link_s": max(bytes_ / speed[name] for (_, name), bytes_ in copied.items()),
    }


def _audited(fleet: Fleet) -> dict[str, Any]:
    """Every host and every rack."""
    fleet = replace(fleet, failure_domains=("rack",))
    begun_s = time.perf_counter()
    answers = list(audit.audit(fleet))
    return {
        "plan_s": time.perf_counter() - begun_s,
        "answers": len(answers),
        "moves": sum(answer.moves for answer in answers),
        "stuck": sum(bool(answer.staying) for answer in answers),
    }


if __name__ == "__main__":
    sys.exit(main())
