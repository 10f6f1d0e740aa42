"""`make bench-apps`: a server with so much memory, moved by segue and by Podman in turns, as its client sees it.

Exit status 0 if the benchmark ran; whether segue was good enough is said by the verdicts in the report.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.podman import TOP, Podman
from segue import __version__
from segue.adapters import system
from segue.lab import places, syscalls
from segue.lab.api import Lab

LAB: Final = "bench-apps"
HOSTS: Final = ("host1", "host2")
ADDRESS: Final = "10.77.100.7"
PORT: Final = 8080
PACKAGES: Final = ("podman", "netavark")
PLACE: Final = Path("out/bench/apps.json")
MEMORY_MIB: Final = (10, 100, 1000)
EACH_S: Final = 0.002
SETTLE_S: Final = 2.0
ANSWER_S: Final = 60.0
SHARE: Final = 0.2
"""segue's outage, as a share of Podman's."""
NEAR: Final = 1.5
"""segue's blackout, as a multiple of the floor."""
LINKS: Final = (0, 1)
OURS: Final = {"segue": (), "segue on demand": ("--post-copy-after", "0")}
"""As it is moved where nothing is said, and so that it runs before its memory is in place."""
Sample = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """How much memory, over what a link."""

    mib: int
    gbit: float

    def __str__(self) -> str:
        return f"{self.mib} MiB, {f'{self.gbit:g} Gbit/s' if self.gbit else 'no limit'}"


FLOOR: Final = """
set -e
top=$1/floor
rm -rf $top && mkdir -p $top/images $top/work
rootfs=$(ls -d /var/lib/segue/apps/.images/trees/*/rootfs | head -1)
cat >$top/config.json <<END
{"ociVersion": "1.0.0", "root": {"path": "$rootfs", "readonly": true}, "hostname": "floor",
 "process": {"user": {"uid": 0, "gid": 0}, "args": ["/usr/bin/python3", "/etc/app/server.py"],
             "env": ["PATH=/usr/bin"], "cwd": "/"},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
 "linux": {"cgroupsPath": "/segue-apps/floor", "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}]}}
END
echo "network-lock skip" >$top/criu.conf
export CRIU_CONFIG_FILE=$top/criu.conf
crun="crun --root $top/crun --cgroup-manager cgroupfs"
$crun run --detach --bundle $top floor > >(cat >$top/log) 2>&1 </dev/null
until printf 'hold %s\\n' $2 | nc -N -w 30 127.0.0.1 8080 | grep -q holds; do sleep 0.1; done
same="--image-path $top/images --work-path $top/work --manage-cgroups-mode ignore --tcp-established"
begun=$(date +%s.%N)
$crun checkpoint $same floor
dumped=$(date +%s.%N)
$crun restore --detach --bundle $top $same floor > >(cat >$top/log) 2>&1 </dev/null
ended=$(date +%s.%N)
$crun kill floor KILL; $crun delete --force floor; rm -rf $top
echo "$begun $dumped $ended"
"""


class Client(threading.Thread):
    """Asks over one connection that lives as long as it does; every answer's time is kept."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self._lab = lab
        self._ready, self._enough = threading.Event(), threading.Event()
        self.connection: socket.socket
        self.answers_s: list[float] = []
        self.failure = ""

    def run(self) -> None:
        """In the client's network."""
        try:
            with Path(f"/proc/{self._lab.host_pids('client1')[0]}/ns/net").open() as network:
                syscalls.setns(network.fileno(), syscalls.CLONE_NEWNET)
            self._talk(connected())
        except (OSError, ValueError) as error:
            self.failure = str(error)
        self._ready.set()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb", buffering=0) as lines:
            while not self._enough.is_set():
                lines.write(b"x\n")
                if not lines.readline():
                    raise ValueError("the connection was closed")
                self.answers_s.append(time.monotonic())
                self._ready.set()
                self._enough.wait(EACH_S)

    def begin(self) -> None:
        """Returns with the first answer."""
        self.start()
        self._ready.wait(ANSWER_S)

    def forget(self) -> None:
        """What was until now is not measured."""
        del self.answers_s[:-1]

    def end(self) -> float:
        """The longest time between two answers."""
        self._enough.wait(SETTLE_S)
        self._enough.set()
        self.join(ANSWER_S)
        return max(
            (later - sooner for sooner, later in zip(self.answers_s, self.answers_s[1:], strict=False)),
            default=0,
        )


def connected() -> socket.socket:
    """To the server, which may just be starting."""
    until_s = time.monotonic() + ANSWER_S
    while True:
        try:
            made = socket.create_connection((ADDRESS, PORT), 5)
            made.settimeout(ANSWER_S)
            return made
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


class Segue:
    """The same server, run and moved as an operator does it."""

    def __init__(self, lab: Lab, *options: str) -> None:
        self._lab = lab
        self._options = options

    def prepare(self, hosts: tuple[str, ...]) -> None:
        """The image, on every host."""
        self._segue(
            "app", "load", str(places.cache() / "images" / "app-python" / "image.tar"), "--name", "python"
        )

    def start(self, host: str) -> None:
        """A fresh one."""
        place = ("--host", host, "--address", f"{ADDRESS}/16", "--memory", "2GiB")
        self._segue("app", "run", "--name", "app1", *place, "python")

    def move(self, source: str, target: str) -> dict[str, float]:
        """What its record says."""
        words = ("--to", target, "--max-blackout", "30s", *self._options, "-o", "json")
        record = json.loads(self._segue("migrate", "app1", *words))
        if record["stage"] != "done":
            raise RuntimeError(record["failure"])
        return {name: record["outcome"][name] for name in ("blackout_s", "total_s")}

    def remove(self, host: str) -> None:
        """Nothing of it stays."""
        self._segue("app", "stop", "app1", "--timeout", "0s")
        self._segue("app", "delete", "app1", "--yes")

    def _segue(self, *words: str) -> str:
        argv = [sys.executable, "-m", "segue", *words]
        environ = {"SEGUE_CONTEXT": str(self._lab.places.context), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(f"segue {' '.join(words)}: {done.stderr[-500:]}")
        return done.stdout


def hold(lab: Lab, mib: int) -> None:
    """So much memory, written by the server itself."""
    lab.exec(
        "client1",
        ["sh", "-c", f"printf 'hold {mib}\\n' | nc -N -w 60 {ADDRESS} {PORT}"],
        check=True,
        timeout=90.0,
    )


def one(lab: Lab, name: str, peer: Segue | Podman, cell: Cell) -> Sample:
    """A fresh server moves once."""
    source, target = HOSTS
    peer.start(source)
    try:
        client = Client(lab)
        client.begin()
        hold(lab, cell.mib)
        client.forget()
        figures = peer.move(source, target)
        outage_s = client.end()
        return {"peer": name, **asdict(cell), "outage_s": outage_s, "broken": client.failure, **figures}
    finally:
        for host in HOSTS if isinstance(peer, Podman) else (target,):
            peer.remove(host)


def floor(lab: Lab, cell: Cell) -> Sample:
    """CRIU alone on one host: dumped into memory, restored from there, nothing sent and no client."""
    done = lab.exec("host1", ["bash", "-c", FLOOR, "bash", TOP, str(cell.mib)], timeout=120.0)
    if done.returncode != 0:
        raise RuntimeError(f"the floor: {done.stdout[-300:]} {done.stderr[-500:]}")
    begun, dumped, ended = map(float, done.stdout.split()[-3:])
    times = {"blackout_s": ended - begun, "dump_s": dumped - begun, "restore_s": ended - dumped}
    return {"peer": "floor", **asdict(cell), **times}


def report(samples: list[Sample], runs: int) -> dict[str, Any]:
    """With the verdicts that the samples give."""
    verdicts = [verdict for cell in _cells(samples) for verdict in _verdicts(samples, cell)]
    return {
        "what": "one server with so much memory moves between two hosts; its client asks every 2 ms",
        "versions": {"segue": __version__},
        "machine": {"cpus": system.cpus(), "kernel": platform.release()},
        "runs": runs,
        "verdicts": verdicts,
        "samples": samples,
    }


def _verdicts(samples: list[Sample], cell: Cell) -> list[dict[str, Any]]:
    theirs, least = _mid(samples, cell, "podman", "outage_s"), _mid(samples, cell, "floor", "blackout_s")
    found = []
    for peer in OURS:
        ours, stood = (_mid(samples, cell, peer, name) for name in ("outage_s", "blackout_s"))
        if ours and theirs:
            found.append((f"{cell}: {peer}'s outage / Podman's", SHARE, ours / theirs))
        if least and stood:
            found.append((f"{cell}: {peer}'s blackout / the floor", NEAR, stood / least))
    return [
        {"name": name, "target": target, "value": round(value, 2), "unit": "times", "holds": value <= target}
        for name, target, value in found
    ]


def _cell(sample: Sample) -> Cell:
    return Cell(sample["mib"], sample["gbit"])


def _cells(samples: list[Sample]) -> list[Cell]:
    return list(dict.fromkeys(map(_cell, samples)))


def _mid(samples: list[Sample], cell: Cell, peer: str, name: str) -> float | None:
    found = [
        each[name]
        for each in samples
        if each["peer"] == peer and _cell(each) == cell and not each.get("broken")
    ]
    return median(found) if found else None


def show(made: dict[str, Any]) -> None:
    """A line for each peer and size, and one for each verdict."""
    for cell in _cells(made["samples"]):
        for peer in (*OURS, "podman", "floor"):
            names = ("blackout_s", "outage_s", "total_s") if peer != "floor" else ("blackout_s",)
            figures = {name: _mid(made["samples"], cell, peer, name) for name in names}
            said = [
                f"{name[:-2]} {value * 1e3:.0f} ms" for name, value in figures.items() if value is not None
            ]
            print(f"{cell!s:24} {peer:15} {', '.join(said) or 'its client waited for too long'}")
    for verdict in made["verdicts"]:
        print(
            f"{verdict['name']}: {verdict['value']} (target {verdict['target']}): "
            f"{'holds' if verdict['holds'] else 'missed'}"
        )


def main() -> int:
    """Measures, writes the report, prints its verdicts."""
    parser = argparse.ArgumentParser(prog="python -m bench.apps", description=__doc__)
    parser.add_argument("--memory-mib", default=",".join(map(str, MEMORY_MIB)))
    parser.add_argument(
        "--gbit", default=",".join(map(str, LINKS)), help="speed of the link; 0: the machine's own"
    )
    parser.add_argument("--runs", type=int, default=3)
    told = parser.parse_args()
    lab = Lab(LAB, on_progress=lambda text: print(f"  {text}", file=sys.stderr), packages=PACKAGES)
    samples: list[Sample] = []
    try:
        lab.up(hosts=2, clients=1, images=("app-python",))
        lab.wait_for_agents(list(HOSTS), 60.0)
        peers: dict[str, Segue | Podman] = {name: Segue(lab, *words) for name, words in OURS.items()}
        peers["podman"] = Podman(lab, ADDRESS)
        for peer in peers.values():
            peer.prepare(HOSTS)
        for gbit, mib in product(map(float, told.gbit.split(",")), map(int, told.memory_mib.split(","))):
            cell = Cell(mib, gbit)
            lab.set_rate(int(gbit * 1e9) or None)
            for _ in range(told.runs):
                samples += [one(lab, name, peer, cell) for name, peer in peers.items()]
                samples.append(floor(lab, cell))
                for sample in samples[-len(peers) - 1 :]:
                    print(f"  {sample}", file=sys.stderr)
    finally:
        lab.down()
    made = report(samples, told.runs)
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(made, indent=1) + "\n")
    show(made)
    print(f"Every figure is in {PLACE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
