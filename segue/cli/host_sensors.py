"""What a host's BMC says beside its agent, in `segue host health`; a fleet without a controller has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from segue.cli.central import Controller
from segue.cli.fleet import Fleet, Host
from segue.errors import Kind, Refused
from segue.model.health import Level

ASIDE: Final = frozenset({Kind.NOT_FOUND, Kind.AUTH, Kind.UNREACHABLE})
"""It has no BMC, the caller may not see it, no controller answers: what the agent says is shown all the same."""


@dataclass(frozen=True)
class Bmc:
    """Of one host."""

    host: str
    agent: Host
    controller: Controller | None

    def health(self) -> dict[str, Any]:
        """The agent's verdicts with the BMC's; the host is as the graver of the two says."""
        seen, found = dict(self.agent.call("GET", "/health")), self._sensors()
        if found is None:
            return seen
        graver = max(seen, found, key=lambda one: Level(one["level"]).rank)
        made = {key: [*seen[key], *found[key]] for key in ("parts", "blind", "incidents")}
        return {**seen, **made, "level": graver["level"], "text": graver["text"]}

    def rectified(self, part: str) -> None:
        """To whoever has seen that part. Raises Refused where nobody has."""
        found = self._sensors()
        if self.controller is not None and found and any(one["part"] == part for one in found["parts"]):
            self.controller.call("POST", f"/hosts/{self.host}/sensors/rectified", {"part": part})
            return
        self.agent.call("POST", "/health/rectified", {"part": part})

    def _sensors(self) -> dict[str, Any] | None:
        if self.controller is None:
            return None
        try:
            return dict(self.controller.call("GET", f"/hosts/{self.host}/sensors"))
        except Refused as error:
            if error.kind not in ASIDE:
                raise
            return None


def of(known: Fleet, host: str) -> Bmc:
    """Where there is a controller that can be asked."""
    return Bmc(host, known.host(host), known.controller)
