"""Runs probes beside a migration, so that its record says what a client saw."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from segue.cli import follow, output
from segue.cli.fleet import Host
from segue.cli.output import Format
from segue.errors import Kind, Refused

READY_S: Final = 15.0
AFTER_S: Final = 1.0
"""The client is watched this much longer, so that a late duplicate is seen too."""
KINDS: Final = ("udp", "tcp", "http", "redis")


class Probes:
    """Probe processes that watch one guest."""

    def __init__(self, address: str, wanted: list[str]) -> None:
        self._processes = [self._start(address, wish) for wish in wanted]

    def _start(self, address: str, wish: str) -> subprocess.Popen[str]:
        kind, _, port = wish.partition(":")
        if kind not in KINDS or not port.isdigit():
            raise Refused(
                what=f"'{wish}' is no probe",
                why=f"a probe is written KIND:PORT, with a kind of {', '.join(KINDS)}",
                todo="Write for instance --probe udp:7000.",
                kind=Kind.USAGE,
            )
        place = f"http://{address}:{port}/" if kind == "http" else f"{address}:{port}"
        argv = [sys.executable, "-m", "segue", "probe", kind, place, "-o", "json"]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_ready(self) -> None:
        """Returns when each has its first reply. Raises Refused with a probe's own words."""
        for process in self._processes:
            assert process.stderr is not None
            words = []
            for line in process.stderr:
                words.append(line.strip())
                if "ready" in line:
                    break
            else:
                raise Refused(
                    what="the client's view cannot be measured",
                    why=_reason(words),
                    todo="Run this where the guest can be reached, or leave --probe away.",
                    kind=Kind.UNREACHABLE,
                )

    def finish(self) -> list[dict[str, Any]]:
        """Lets them see the end, then asks for their accounts."""
        if self._processes:
            time.sleep(AFTER_S)
        for process in self._processes:
            process.send_signal(signal.SIGINT)
        outs = [process.communicate(timeout=READY_S)[0] for process in self._processes]
        return [json.loads(out) for out in outs]

    def end(self) -> None:
        """Ends what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def running(guest: dict[str, Any], wanted: list[str]) -> Iterator[Probes]:
    """Probes of this guest while the block runs."""
    addresses = [nic["address"].partition("/")[0] for nic in guest["spec"]["nics"] if nic["address"]]
    if wanted and not addresses:
        raise Refused(
            what=f"{guest['name']} cannot be probed",
            why="it was created without --address, so nobody here knows where to reach it",
            todo="Run `segue probe` yourself against its address.",
        )
    probes = Probes(addresses[0] if addresses else "", wanted)
    try:
        probes.wait_ready()
        yield probes
    finally:
        probes.end()


def follow_beside(
    host: Host,
    guest: dict[str, Any],
    wanted: list[str],
    begin: Callable[[], dict[str, Any]],
    say_detached: Callable[[str], None],
    form: Format,
) -> int:
    """Begins a migration and follows it to its end while probes watch; what they saw is kept in its record.

    Returns the exit code; Ctrl-C leaves it going, and says how to come back.
    """
    with running(guest, wanted) as probes:
        begun = begin()
        try:
            record = follow.watch(host, begun["id"])
        except KeyboardInterrupt:
            say_detached(begun["id"])
            return output.DETACHED
        observations = probes.finish()
    for observation in observations:
        record = host.call("POST", f"/migrations/{begun['id']}/observations", observation)
    code = follow.conclude(record)
    for observation in observations:
        output.say(sentence(observation, record["outcome"]["stopped_at_s"]))
    if form is not Format.TABLE:
        output.show(record, form)
    return code


def _reason(words: list[str]) -> str:
    """The probe's own error without its advice: the caller has a better one."""
    if not words:
        return "the probe ended"
    return words[0].removeprefix("refused: ")


def sentence(seen: dict[str, Any], stood_at_s: float) -> str:
    """What a client saw, in one line. stood_at_s: by the wall clock; 0 for a guest that never stood."""
    lost = f"{seen['lost']} lost{_when(seen, stood_at_s)}"
    counts = f"{seen['sent']} sent, {lost}, {seen['duplicated']} duplicated"
    failed = f"{seen['failed']} failed, {seen['broken_connections']} broken connections"
    gap_ms = seen["longest_gap_s"] * 1e3
    return f"client ({seen['probe']} {seen['target']}): longest gap {gap_ms:.0f} ms, {counts}, {failed}"


def _when(seen: dict[str, Any], stood_at_s: float) -> str:
    """When the first of the lost was sent: in the blackout, or far from it."""
    first_s = min(seen.get("lost_sent_s") or [0.0])
    if not (first_s and stood_at_s):
        return ""
    side = "before" if first_s < stood_at_s else "after"
    return f" (the first sent {abs(first_s - stood_at_s):.3f} s {side} the guest stood)"
