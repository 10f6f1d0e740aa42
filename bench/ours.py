"""segue as a peer: a guest that its agents keep, moved through their API as `segue migrate` does it."""

from __future__ import annotations

import time
from typing import Any, Final

from bench.moves import Move
from segue.cli import follow
from segue.cli.fleet import Host
from segue.lab.api import Lab
from segue.model.migration import Limits

NAME: Final = "bench-segue"


class Ours:
    """One guest of the lab's agents."""

    name = "segue"

    def __init__(self, lab: Lab, address: str, memory_bytes: int, host: str) -> None:
        self._lab = lab
        self.address = address
        self.host = host
        wish = {"name": NAME, "image": "micro", "memory_bytes": memory_bytes, "address": f"{address}/16"}
        self.spec: dict[str, Any] = self.agent(host).call("POST", "/guests", wish)["spec"]

    def move(self, to: str) -> Move:
        """See bench/moves.py."""
        begun_s = time.time()
        agent = self.agent(self.host)
        record = agent.call("POST", f"/guests/{NAME}/migrations", {"to": to, "limits": _limits()})
        record = follow.follow(agent, record["id"], lambda _: None)
        if record["stage"] != "done":
            raise RuntimeError(f"segue did not move its guest: {record['failure']}")
        ended_s, self.host = time.time(), to
        outcome = record["outcome"]
        # Both hosts of the lab have one clock: its own correction of the clocks would only add its error.
        resumed_at_s = outcome["resumed_at_s"] + outcome["clock_offset_s"]
        details = {name: outcome[name] for name in ("rounds", "transferred_bytes", "frames_steered")}
        details |= {name: outcome[name] for name in ("frames_rescued", "timeline", "preparation_s")}
        details |= {"reported_blackout_s": outcome["blackout_s"], "forecast": record["forecast"]}
        return Move(begun_s, outcome["stopped_at_s"], resumed_at_s, ended_s, details)

    def agent(self, host: str) -> Host:
        """The agent of a host, by its socket."""
        return Host(host, f"unix://{self._lab.agent_socket(host)}")


def _limits() -> dict[str, Any]:
    """What `segue migrate` asks for where nothing is said."""
    limits = Limits()
    return {"blackout_s": limits.blackout_s, "deadline_s": limits.deadline_s}
