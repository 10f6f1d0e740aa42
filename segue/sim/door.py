"""Calls of an agent's own API without HTTP: the same routes, the same functions, the same errors and bodies."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any, Final, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from segue.adapters.http import problems
from segue.adapters.http.access import Caller
from segue.agent import api_health, api_incidents, api_jobs, api_lease, api_peer, api_succession, api_user
from segue.agent.app import Agent
from segue.errors import Kind, Refused, SegueError
from segue.model.integrity import Blocks
from segue.sim import ports

DIGEST: Final = re.compile(r"/v1/peer/digest/([^/]+)")
"""Read out of the memory of a process in agent/verification.py; here out of a simulated one."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True)
class _Route:
    methods: frozenset[str]
    path: re.Pattern[str]
    endpoint: Callable[..., Awaitable[Any]]
    needed: tuple[Callable[[Request], Any], ...]
    shapes: dict[str, Any]
    status: int


async def serve(
    agent: Agent, caller: Caller, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Reply:
    """The answer to one call, errors included."""
    request = _request(agent, caller, method, path, body, headers)
    try:
        return await _call(agent, request, method, path, body)
    except SegueError as error:
        answer = await problems.show_error(request, error)
    except Exception as error:  # noqa: BLE001 - as the real application does
        answer = await problems.show_bug(request, error)
    return Reply(answer.status_code, bytes(answer.body))


async def _call(agent: Agent, request: Request, method: str, path: str, body: bytes) -> Reply:
    bare, _, query = path.partition("?")
    if found := DIGEST.fullmatch(bare):
        keeper = agent.guests.by_uuid(found[1])
        digests = await ports.digest_there(keeper, msgspec.json.decode(body, type=Blocks))
        return Reply(200, msgspec.json.encode(digests))
    for route, found_in_path in _matching(method, bare):
        for demand in route.needed:
            demand(request)
        named = {**found_in_path, **dict(parse_qsl(query))}
        return _reply(route, await route.endpoint(request, **_arguments(route, named, body)))
    raise Refused(
        what=f"{method} {bare} was not done",
        why="the API has no such call",
        todo="Look at the API.",
        kind=Kind.NOT_FOUND,
    )


@lru_cache(maxsize=512)
def _matching(method: str, path: str) -> list[tuple[_Route, dict[str, str]]]:
    """The route that takes it, with what stands in its path; none where there is no such call."""
    for route in _routes():
        match = route.path.fullmatch(path)
        if match and method in route.methods:
            return [(route, match.groupdict())]
    return []


def _arguments(route: _Route, named: dict[str, str], body: bytes) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, shape in route.shapes.items():
        if name in named:
            arguments[name] = shape(named[name])
        elif shape not in {str, int, float}:
            arguments[name] = msgspec.json.decode(body or b"{}", type=shape)
    return arguments


def _reply(route: _Route, answer: Any) -> Reply:
    if isinstance(answer, Response):
        return Reply(answer.status_code, bytes(answer.body))
    return Reply(route.status, b"" if answer is None else msgspec.json.encode(answer))


@cache
def _routes() -> tuple[_Route, ...]:
    routers = (
        api_peer.urgent_router,
        api_peer.router,
        api_user.open_router,
        api_user.router,
        api_health.router,
        api_incidents.router,
        api_succession.router,
        api_jobs.router,
        api_lease.router,
        api_lease.peer_router,
    )
    return tuple(_route(one) for router in routers for one in router.routes if isinstance(one, APIRoute))


def _route(one: APIRoute) -> _Route:
    hints = get_type_hints(one.endpoint)
    names = [name for name in inspect.signature(one.endpoint).parameters if name != "request"]
    needed = tuple(depends.dependency for depends in one.dependencies if depends.dependency is not None)
    return _Route(
        frozenset(one.methods or ()), one.path_regex, one.endpoint, needed, {n: hints[n] for n in names},
        one.status_code or 200,
    )  # fmt: skip


def _request(
    agent: Agent, caller: Caller, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    bare, _, query = path.partition("?")
    state = SimpleNamespace(agent=agent, demand_not_barred=agent.services.trust.demand)
    app = SimpleNamespace(state=state)
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": method, "path": bare, "query_string": query.encode(), "headers": sent,
        "app": app, "state": {"caller": caller}, "client": ("192.0.2.1", 0), "server": ("agent", 80),
        "scheme": "http",
    }  # fmt: skip
    return Request(scope, receive)
