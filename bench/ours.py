"""segue as a peer: a guest that its agents keep, moved through their API as `segue migrate` does it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from bench import disk
from bench.cells import DISK_BYTES, DISK_LOAD, Cell
from bench.moves import DEADLINE_S, Move, stayed
from segue.cli import follow
from segue.cli.fleet import Host
from segue.errors import Refused
from segue.lab.api import Lab
from segue.model.ladder import LADDERS
from segue.model.migration import Limits

NAME: Final = "bench-segue"
REQUIRED: Final = "required"
OFF: Final = "off"
FIRM: Final = "segue --ladder firm"
POST_COPY: Final = "segue post-copy"
"""After the first round, as libvirt's `--postcopy-after-precopy` does it."""
CONFIG: Final = "/etc/segue/agent.toml"
SET_CHANNELS: Final = r'/^channels = /d; s/^\[tls\]$/&\nchannels = "{}"/'
KEPT_S: Final = 30.0
KEPT: Final = (
    "rounds",
    "transferred_bytes",
    "frames_steered",
    "frames_rescued",
    "timeline",
    "preparation_s",
    "post_blackout_s",
    "clock_uncertainty_s",
)
"""What the sample keeps of the record's outcome."""


class OurGuest:
    """One guest of the lab's agents."""

    def __init__(self, lab: Lab, address: str, cell: Cell, host: str) -> None:
        self._lab = lab
        self._channels = REQUIRED
        self.address = address
        self.host = host
        wish: dict[str, Any] = {
            "name": NAME, "image": "micro", "memory_bytes": cell.memory_bytes, "address": f"{address}/16",
            "start": False,
        }  # fmt: skip
        if cell.disk:
            wish["disks"] = [{"size_bytes": DISK_BYTES, "storage": "local"}]
            wish["cmdline"] = DISK_LOAD
        self.spec: dict[str, Any] = self.agent(host).call("POST", "/guests", wish)["spec"]
        for each in self.spec["disks"]:
            disk.fill(lab, host, each["path"])
        self.agent(host).call("POST", f"/guests/{NAME}/start")

    def agent(self, host: str) -> Host:
        """The agent of a host, by its socket."""
        return Host(host, f"unix://{self._lab.agent_socket(host)}")

    def set_channels(self, channels: str, hosts: Sequence[str]) -> None:
        """Whether memory travels over TLS; agents read it when they start, and guests run on meanwhile."""
        if channels == self._channels:
            return
        for host in hosts:
            self._lab.exec(host, ["sed", "-i", SET_CHANNELS.format(channels), CONFIG], check=True)
            self._lab.exec(host, ["sv", "restart", "segue-agent"], check=True)
        self._lab.wait_for_agents(hosts)
        self._wait_until_kept()
        self._channels = channels

    def _wait_until_kept(self) -> None:
        """An agent that listens finds its guests again a moment later."""
        deadline = time.monotonic() + KEPT_S
        while self.agent(self.host).call("GET", f"/guests/{NAME}")["state"] != "running":
            if time.monotonic() > deadline:
                raise RuntimeError(f"the agent of {self.host} does not find its guest within {KEPT_S:.0f} s")
            time.sleep(0.1)


class Ours:
    """segue with its own defaults; or with memory in plain, which shows what TLS costs."""

    def __init__(
        self,
        guest: OurGuest,
        name: str = "segue",
        channels: str = REQUIRED,
        ladder: str = "balanced",
        post_copy_after: int = -1,
    ) -> None:
        self.name = name
        self._guest = guest
        self._channels = channels
        self._ladder = ladder
        self._post_copy_after = post_copy_after

    @property
    def guest_name(self) -> str:
        """See bench/moves.py."""
        return NAME

    @property
    def address(self) -> str:
        """See bench/moves.py."""
        return self._guest.address

    @property
    def host(self) -> str:
        """See bench/moves.py."""
        return self._guest.host

    def move(self, to: str) -> Move:
        """See bench/moves.py."""
        self._guest.set_channels(self._channels, (self.host, to))
        begun_s = time.time()
        agent = self._guest.agent(self.host)
        try:
            record = agent.call("POST", f"/guests/{NAME}/migrations", {"to": to, "limits": self._limits()})
        except Refused as refused:  # By its forecast: it counts as one that was not moved in time.
            return stayed(begun_s, time.time(), refused.why)
        record = follow.follow(agent, record["id"], lambda _: None)
        ended_s = time.time()
        if record["stage"] == "aborted":
            return stayed(begun_s, ended_s, record["failure"]["why"])
        if record["stage"] != "done":
            raise RuntimeError(f"segue did not move its guest: {record['failure']}")
        self._guest.host = to
        return _moved(record, begun_s, ended_s)

    def _limits(self) -> dict[str, Any]:
        """What `segue migrate` asks for where nothing is said, with the deadline that all peers have."""
        limits = Limits()
        return {
            "blackout_s": limits.blackout_s,
            "deadline_s": DEADLINE_S,
            "ladder": [rung.value for rung in LADDERS[self._ladder]],
            "post_copy_after": self._post_copy_after,
        }


def _moved(record: dict[str, Any], begun_s: float, ended_s: float) -> Move:
    outcome, forecast = record["outcome"], record["forecast"]
    # Both hosts of the lab have one clock: its own correction of the clocks would only add its error.
    resumed_at_s = outcome["resumed_at_s"] + outcome["clock_offset_s"]
    details: dict[str, Any] = {name: outcome[name] for name in KEPT if name in outcome}
    details |= {"reported_blackout_s": outcome["blackout_s"], "forecast": forecast}
    details["foreseen"] = {
        name: {"foreseen_s": forecast[f"{name}_s"], "happened_s": outcome[f"{name}_s"]}
        for name in ("total", "blackout")
    }
    return Move(begun_s, outcome["stopped_at_s"], resumed_at_s, ended_s, details)
