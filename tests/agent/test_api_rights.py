"""Who may call what of an agent: the table in docs/reference/api.md, and every route of the program, are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from segue.adapters.http.access import Caller
from segue.adapters.store.journal import Journal
from segue.agent.main import application
from segue.agent.trust import Trust
from segue.model.rights import RANKS

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "reference" / "api.md"
ROW: Final = re.compile(r"^\| ([A-Za-z, ]+) \| `(/[^`?]+)[^`]*` \| ([a-z, ]+) \|", re.MULTILINE)
ROLES: Final = ("viewer", "operator", "host", "controller")


def documented() -> Iterator[tuple[str, str, set[str]]]:
    for methods, path, who in ROW.findall(PAGE.read_text()):
        named = {word.strip() for word in who.split(",")}
        least = min((RANKS[role] for role in named if role in RANKS), default=len(RANKS))
        may = named | {role for role, rank in RANKS.items() if rank >= least}
        for method in methods.split(","):
            yield method.strip(), path, may


class As:
    """The agent's application, called by somebody with that certificate. Nothing of the agent is there but whom it
    trusts: who is refused is so before anything of it is asked."""

    def __init__(self, folder: Path, role: str) -> None:
        services = SimpleNamespace(trust=Trust(Journal(folder / "journal.db", "boot"), folder / "ca.pem"))
        self._app = application(cast(Any, SimpleNamespace(services=services)))
        self._caller = Caller(role, "x")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "state": {"caller": self._caller}}
        await self._app(scope, receive, send)


@pytest.mark.parametrize("role", ROLES)
def test_who_is_not_named_is_refused(tmp_path: Path, role: str) -> None:
    client = TestClient(As(tmp_path, role), raise_server_exceptions=False)
    rows = list(documented())
    assert len(rows) > 40
    for method, path, may in rows:
        if role in may:
            continue
        url = re.sub(r"\{[a-z_]+\}", "x", path)
        if method == "websocket":
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(url):
                pass
        else:
            answer = client.request(method, url)
            assert answer.status_code == 403, (role, method, path, may)


def test_every_route_is_in_the_table_or_for_agents_among_themselves(tmp_path: Path) -> None:
    known = {(method, re.sub(r"\{[a-z_]+\}", "*", path)) for method, path, _ in documented()}
    openapi = As(tmp_path, "admin")._app.openapi()["paths"]
    assert len(openapi) > 40
    for path, methods in openapi.items():
        for method in () if path.startswith("/v1/peer/") else methods:
            assert (method.upper(), re.sub(r"\{[a-z_]+\}", "*", path)) in known, (method, path)
