"""The hosts, the client and the application of the fault cases; it proves its memory and its file as a guest does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faults import report
from tests.lab.app_scene import AppScene


class AppStage(AppScene):
    """An application has one kind of files, and is never made anew."""

    kind = ""

    def use(self, kind: str) -> None:
        """There is one kind."""
        self.kind = kind

    count = None
    """It writes too seldom to count it."""

    def status(self) -> dict[str, float]:
        """Which life it lives, and for how long."""
        return {"life": self.client.life(), "uptime": self.client.uptime_s()}

    def proofs(self, before: Mapping[str, float], crashed: bool) -> dict[str, Any]:
        """Its own word on its memory and its file, and whether its client's connection lived on."""
        said, restarted = self.client.check(), not crashed and self.client.life() != before["life"]
        return {
            "memory": said,
            "disk_blocks": said,
            "wrong_pages": report.bad_in(said) + int(restarted),
            "restarted": restarted,
            "broken_connections": 0 if crashed else self.client.breaks,
        }
