"""A controller takes a lost host's guests only once its lease is surely over, and lets it have one when it is back."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final, cast

import aiohttp.web
import pytest

from segue.model import guest as guests
from segue.model.application import Application, Volume
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.lease import LeaseFacts, Terms
from segue.policy import lease
from tests.controller.rig import Rig
from tests.controller.toy import ToyHost, _json, _refusal

TERMS: Final = Terms(0.4, 0.1)


class LeasedHost(ToyHost):
    """It goes by whatever charter it is told, and notes when it was asked what."""

    number = 0
    grudging = False
    """It refuses nobody a lease."""
    covers_apps = True
    """False for an agent from before applications had leases."""

    def facts(self) -> HostFacts:
        self.app_runtime = "crun"
        apps = self.covers_apps and self.number > 0
        told = LeaseFacts(True, True, TERMS, self.number, self.number > 0, apps=apps)
        return replace(super().facts(), lease=told, denials=dict(self.denied))

    @property
    def denied(self) -> dict[str, str]:
        return cast(dict[str, str], self.__dict__.setdefault("_denied", {}))

    @property
    def asked(self) -> list[tuple[str, float]]:
        return cast(list[tuple[str, float]], self.__dict__.setdefault("_asked", []))

    def more_routes(self, app: aiohttp.web.Application) -> None:
        app.router.add_put("/v1/lease", self._accept)
        app.router.add_put("/v1/denials/{host}", self._deny)
        app.router.add_delete("/v1/denials/{host}", self._allow)
        app.router.add_get("/v1/sights/{host}", self._sight)
        app.router.add_get("/v1/successions/{uuid}", self._part)
        app.router.add_put("/v1/successions/{uuid}", self._inherit)
        app.router.add_post("/v1/successions/{uuid}/start", self._start)

    def _note(self, what: str) -> None:
        self.asked.append((what, time.monotonic()))

    async def _accept(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.number = (await request.json())["number"]
        self._changed.set()
        return _json(self.facts().lease)

    async def _deny(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self.grudging:
            return _refusal("it does not write that down")
        self._note("deny")
        self.denied[request.match_info["host"]] = request.query["incident"]
        return _json({"host": request.match_info["host"], "incident": request.query["incident"]})

    async def _allow(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self.denied.get(request.match_info["host"]) == request.query["incident"]:
            del self.denied[request.match_info["host"]]
        return _json(None)

    async def _sight(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return _json({"sight": "silent"})

    async def _part(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return _json({"phase": "absent", "peer": "", "claim": 0, "name": ""})

    async def _inherit(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self._note("inherit")
        return _json((await request.json())["guest"])

    async def _start(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self._note("start")
        self._note(f"start {request.match_info['uuid']}")
        return _json(None)


async def leased(rig: Rig, *, grudging: tuple[str, ...] = (), covers_apps: bool = True) -> list[LeasedHost]:
    """host1 with a machine and two applications, and two others; all of them are known to go by their charters."""
    rig.start()
    made = []
    for number in (1, 2, 3):
        host = LeasedHost(rig.world, rig.path, f"host{number}")
        host.grudging = host.name in grudging
        host.covers_apps = covers_apps
        await host.begin(rig.way(host.name, {}))
        made.append(host)
    made[0].add("g1")
    made[0].add_as(_app("cache1", Volume("vol0", "/data", "/srv/segue/shared/cache1")))
    made[0].add_as(_app("own1", Volume("vol0", "/data")))
    await rig.up(3)

    def held() -> bool:
        charters = [host["charter"] for host in rig.caller().call("GET", "/hosts")["items"]]
        ready = all(one and one["held"] and len(one["voters"]) == 3 for one in charters)
        return ready and all(one["apps"] is covers_apps for one in charters)

    await rig.until("every host has its charter", held)
    return made


def _app(name: str, volume: Volume) -> Guest:
    app = Application("sha256:0", "redis", ("redis-server",), volumes=(volume,))
    return guests.application(name, name, 64 << 20, app, ())


def started(hosts: list[LeasedHost]) -> set[str]:
    """Applications; their numbers are their names."""
    said = {what for host in hosts for what, _ in host.asked}
    return {name for name in ("cache1", "own1") if f"start {name}" in said}


async def incident(rig: Rig) -> dict[str, Any]:
    found = await rig.call("GET", "/incidents?host=host1")
    items = found["items"] if isinstance(found, dict) else found
    return dict(items[0]) if items else {}


async def test_a_lost_host_is_taken_over_after_the_whole_wait_and_gets_its_lease_again_when_it_is_back(
    rig: Rig,
) -> None:
    one, *others = await leased(rig)
    await one.die()
    await rig.until("somebody starts g1", lambda: any("start" in dict(host.asked) for host in others))
    last_denial_s = max(min(at_s for what, at_s in host.asked if what == "deny") for host in others)
    first_heir_s = min(at_s for host in others for what, at_s in host.asked if what == "inherit")
    assert first_heir_s - last_denial_s >= lease.wait_s(TERMS)
    found = await incident(rig)
    assert found["proof"]["kind"] == "lease_over"
    await rig.until("somebody starts cache1", lambda: "cache1" in started(others))
    assert started(others) == {"cache1"}
    steps = [step["text"] for step in (await incident(rig))["done"]]
    assert "own1 is left: no lease ends it (its volume /data)" in steps
    assert all(host.denied == {"host1": found["id"]} for host in others)
    back = LeasedHost(rig.world, rig.path, "host1")
    await back.begin(rig.way("host1", {}))
    await rig.until("nobody denies it anything", lambda: not any(host.denied for host in others))


@pytest.mark.slow
async def test_an_agent_from_before_applications_had_leases_ends_machines_alone(rig: Rig) -> None:
    one, *others = await leased(rig, covers_apps=False)
    await one.die()
    await rig.until("somebody starts g1", lambda: any("start" in dict(host.asked) for host in others))

    def said() -> bool:
        (found,) = rig.caller().call("GET", "/incidents?host=host1")["items"]
        return any("too old to end applications" in step["text"] for step in found["done"])

    await rig.until("it is said why cache1 is left", said)
    assert started(others) == set()


@pytest.mark.slow
async def test_without_a_majority_that_refuses_nothing_restarts(rig: Rig) -> None:
    one, *others = await leased(rig, grudging=("host2",))
    await one.die()

    def said() -> str:
        found = rig.caller().call("GET", "/deaths")
        return str(found[0]["why"]) if found else ""

    await rig.until("it is said why", lambda: "no majority" in said())
    assert not any(what in {"inherit", "start"} for host in others for what, _ in host.asked)
