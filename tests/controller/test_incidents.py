"""Incidents of hosts reach the store, each once, with their changes, and outlive the host and the leader."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from dataclasses import replace
from typing import Any, ClassVar

from segue.controller import incidents
from segue.model.crash import Cause
from segue.model.incident import Evidence, Hit, Incident
from tests.controller.rig import Rig
from tests.controller.test_metrics import read

LIMIT_S = 30.0


def incident(number: int, host: str, text: str = "x") -> Incident:
    hit = Hit(f"g{number}", str(number), 5.0)
    evidence = (Evidence("console", text),)
    return Incident(f"id{number}", host, Cause.PANIC, float(number), "it panicked", (hit,), evidence)


def told(rig: Rig) -> dict[str, Any]:
    return {one["id"]: one for one in rig.caller().all("/incidents")}


async def test_they_outlive_the_host_and_the_leader(rig: Rig) -> None:
    rig.start("c1")
    one, two = await rig.host("host1"), await rig.host("host2")
    await rig.up(2)
    many = incidents.AT_ONCE + 3
    for number in range(many):
        one.tells(incident(number, "host1", text="x" * 9000 + "the end"))
    await rig.until("all are known", lambda: len(told(rig)) == many, LIMIT_S)
    kept = told(rig)["id0"]["evidence"][0]["text"]
    assert kept.endswith("the end")
    assert len(kept) <= incidents.EVIDENCE_CHARS + len("[...]")

    two.tells(incident(1, "host1"))  # Of another host: it is not believed.
    two.tells(incident(100, "host1"))
    one.tells(replace(incident(2, "host1"), ended_s=9.0))
    await rig.until("the change is known", lambda: told(rig)["id2"]["ended_s"] == 9.0, LIMIT_S)
    await rig.until("host2's own is known", lambda: told(rig)["id100"]["host"] == "host2", LIMIT_S)
    assert told(rig)["id1"]["host"] == "host1"

    await one.die()
    await rig.until(
        "host1 is away", lambda: rig.caller().call("GET", "/hosts/host1")["state"] == "away", LIMIT_S
    )
    assert len(told(rig)) == many + 1
    assert rig.caller().call("GET", "/incidents/id100")["cause"] == "panic"


class Take(http.server.BaseHTTPRequestHandler):
    """Refuses the first one, and keeps the others."""

    taken: ClassVar[list[dict[str, Any]]] = []
    refused: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.refused:
            self.refused.append(body)
            self.send_error(500)
            return
        self.taken.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


async def test_the_leader_posts_what_no_host_can_post_any_more(rig: Rig) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            rig.start("c1", "--incidents", f"http://127.0.0.1:{server.server_address[1]}/hook")
            one = await rig.host("host1")
            await rig.up(1)
            one.tells(incident(1, "host1"))
            await rig.until("it is posted", lambda: [x["id"] for x in Take.taken] == ["id1"], LIMIT_S)
            assert Take.taken[0]["type"] == "incident"
            assert Take.refused, "and posted again after a failure"
            one.tells(replace(incident(1, "host1"), ended_s=time.time()))
            await rig.until("its end, too", lambda: Take.taken[-1]["ended_s"] > 0, LIMIT_S)
            page = (await asyncio.to_thread(read, rig, rig.folder.admin)).text
            assert 'segue_incident_posts_total{result="sent"} 2' in page
        finally:
            server.shutdown()
