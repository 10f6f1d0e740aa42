"""A toy host that can be verified: doctor and health find it well, and its burn-in guests say so."""

from __future__ import annotations

import asyncio

import aiohttp.web

from segue.agent import link
from segue.model.health import Health, Level
from segue.model.verification import Said
from segue.wire.frames import Problem
from tests.controller.rig import Rig
from tests.controller.toy import ToyHost, _json


class TriedHost(ToyHost):
    """`making`: what it was asked to make. It makes nothing while `may_make` is not set, as one that copies."""

    def __init__(self, rig: Rig, name: str) -> None:
        super().__init__(rig.world, rig.path, name)
        self._rig = rig
        self.may_make = asyncio.Event()
        self.may_make.set()
        self.making: list[str] = []
        self.makes_after_doctors = 0
        """So many visits of the doctor, and it goes on with what it makes."""
        self.doctors = 0
        self.looks = 0

    @classmethod
    async def made(cls, rig: Rig, name: str) -> TriedHost:
        host = cls(rig, name)
        await host.begin(rig.way(name, {}))
        return host

    async def hang_up(self) -> None:
        """Its agent lives, and no controller hears of it."""
        assert self._link is not None
        self._link.cancel()
        await asyncio.wait({self._link})

    def dial(self) -> None:
        """It connects again."""
        self._link = asyncio.create_task(link.keep(self._rig.way(self.name, {}), self))

    def more_routes(self, app: aiohttp.web.Application) -> None:
        app.router.add_get("/v1/doctor", self._doctor)
        app.router.add_get("/v1/health", self._well)
        app.router.add_get("/v1/guests/{name}", self._one)
        app.router.add_delete("/v1/guests/{name}", self._delete)
        app.router.add_get("/v1/guests/{name}/burn-in", self._said)

    async def _create(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        wish = await request.json()
        if wish["name"] in self.names():
            return _problem(409, "conflict", f"{wish['name']} is here already")
        self.making.append(wish["name"])
        await self.may_make.wait()
        if wish["name"] in self.names():
            return _problem(409, "conflict", f"{wish['name']} is here already")
        self.add(wish["name"], wish["memory_bytes"])
        return _json(self._guests[wish["name"]], 201)

    async def _doctor(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.doctors += 1
        if self.doctors == self.makes_after_doctors:
            self.may_make.set()
        return _json({"findings": [{"level": "ok", "what": "all is well"}]})

    async def _well(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return _json(Health(self.name, Level.HEALTHY, 0.0))

    async def _one(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        found = self._guests.get(request.match_info["name"])
        return _json(found) if found else _problem(404, "not_found", "it is not here")

    async def _said(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.looks += 1
        return _json(Said(good=self.looks))

    async def _delete(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self._guests.pop(request.match_info["name"], None) is None:
            return _problem(404, "not_found", "it is not here")
        self._changed.set()
        return _json(None)


def _problem(status: int, kind: str, why: str) -> aiohttp.web.Response:
    return _json(Problem(status, "refused", kind, "it was not done", why, "Look at it."), status)
