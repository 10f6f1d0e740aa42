"""Places where a rehearsal may have this agent die or have something happen; a host in service has none.

The lab names a file in the agent's configuration; each of its lines is `PLACE=ACTION`, used once:
`after released=kill` ends the agent at that place as a power cut would, `begun copy memory=exec CMD` runs CMD.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import structlog

log = structlog.get_logger()

EXEC_S = 20.0


class Failpoints:
    """Without a file every place is passed without a look."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def hit(self, place: str) -> None:
        """Called at a place that a rehearsal can name."""
        if self._path is None or not self._path.is_file():
            return
        lines = self._path.read_text().splitlines()
        for line in lines:
            name, _, action = line.partition("=")
            if name == place:
                lines.remove(line)
                self._path.write_text("\n".join(lines))
                log.warning("failpoint", place=place, action=action)
                _act(action)
                return


def _act(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action.startswith("exec "):
        subprocess.run(action.removeprefix("exec "), shell=True, check=False, timeout=EXEC_S)
    else:
        log.error("no such action", action=action)
