"""Every path with all sorts of odd requests, over TLS, against a controller with hosts: no 5xx, all documented."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.controller.rig import Rig
from tests.controller.toy import GIB
from tests.thorough import examples

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
BOUNDED = settings(
    max_examples=examples(25),
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OPEN = {"/v1/ca", "/v1/join"}
ENDLESS = "/v1/events"


class Fuzzer:
    """One session of an admin, and things that are there, so that not every request ends with a 404."""

    def __init__(self, rig: Rig, token: str, known: dict[str, dict[str, str]]) -> None:
        self.url = rig.controllers[0].url
        self.seen: Counter[int] = Counter()
        self.called: set[str] = set()
        self._known = known
        self._ca = str(rig.folder.ca)
        self._session = requests.Session()
        self._session.headers["authorization"] = f"Bearer {token}"
        self.schema = schemathesis.openapi.from_url(f"{self.url}/openapi.json", verify=self._ca)

    def operations(self) -> Iterator[Any]:
        for found in self.schema.get_all_operations():
            assert isinstance(found, Ok), found
            if found.ok().path != ENDLESS:
                yield found.ok()

    def fuzz(self) -> None:
        for operation in self.operations():
            self.called.add(f"{operation.method.upper()} {operation.path}")
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._fuzz(operation, mode)

    def _fuzz(self, operation: Any, mode: GenerationMode) -> None:
        known = self._known.get(operation.path, {})

        @seed(7)
        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def every(case: Any) -> None:
            self._call(case)
            if known:
                case.path_parameters.update(known)
                self._call(case)

        every()

    def _call(self, case: Any) -> None:
        answer = case.call(base_url=self.url, session=self._session, verify=self._ca, timeout=20)
        self.seen[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)


@pytest.fixture
async def fleet(rig: Rig) -> Rig:
    rig.start()
    one = await rig.host("host1")
    await rig.host("host2", {"rack": "r1"})
    one.add("web1", GIB // 4)
    await rig.up(2)
    await rig.until("web1 is known", lambda: rig.caller().call("GET", "/guests/web1"))
    return rig


async def test_no_5xx_and_nothing_that_is_not_documented(fleet: Rig) -> None:
    token = (await fleet.call("POST", "/tokens", {"role": "admin", "name": "fuzz"}))["token"]
    spare = (await fleet.call("POST", "/tokens", {}))["kept"]["id"]
    task = (await fleet.call("POST", "/guests/web1/stop"))["id"]
    host, guest = {"name": "host2"}, {"name": "web1"}
    known = {
        "/v1/hosts/{name}": host, "/v1/guests/{name}": guest, "/v1/guests/{name}/migrations": guest,
        "/v1/guests/{name}/start": guest, "/v1/guests/{name}/stop": guest, "/v1/tasks/{number}": {"number": task},
        "/v1/tasks/{number}/{wish}": {"number": task}, "/v1/tokens/{number}": {"number": spare},
        "/v1/bars/{who}": {"who": "operator:olga"},
    }  # fmt: skip
    fuzzer = await asyncio.to_thread(Fuzzer, fleet, token, known)
    await asyncio.to_thread(fuzzer.fuzz)
    print(dict(sorted(fuzzer.seen.items())))
    assert len(fuzzer.called) >= 24, fuzzer.called
    assert {200, 201, 202, 400, 404} <= set(fuzzer.seen), "it came further than to the door"
    assert not [line for line in fleet.logs().splitlines() if "unforeseen" in line]
    assert (await fleet.call("GET", "/status"))["leader"] == "c1"


async def test_without_a_certificate_or_token_nothing_but_the_door_opens(fleet: Rig) -> None:
    document = await asyncio.to_thread(lambda: schema(fleet))
    context = ssl.create_default_context(cafile=str(fleet.folder.ca))
    with httpx2.Client(base_url=fleet.urls()[0], verify=context) as stranger:
        for path, methods in document["paths"].items():
            for method in methods:
                answer = stranger.request(method, path.replace("{wish}", "cancel"), json={})
                allowed = {200, 400} if path in OPEN else {400, 403, 429}
                assert answer.status_code in allowed, (method, path, answer.text)


async def test_the_document(fleet: Rig) -> None:
    document = await asyncio.to_thread(lambda: schema(fleet))
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            promised = operation["responses"]
            assert {"400", "403", "404", "409", "413", "422", "429", "502", "504"} <= set(promised), path
            for status, answer in promised.items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def schema(rig: Rig) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(rig.folder.ca))
    found: dict[str, Any] = httpx2.get(f"{rig.urls()[0]}/openapi.json", verify=context).json()
    return found


async def test_events_with_odd_beginnings(fleet: Rig) -> None:
    context = ssl.create_default_context(cafile=str(fleet.folder.ca))
    context.load_cert_chain(fleet.folder.admin.certificate, fleet.folder.admin.key)
    last = (1 << 63) - 1
    for query, headers, status in (
        ("?since=-1", {}, 400), ("?since=x", {}, 400), (f"?since={10**30}", {}, 400),
        (f"?since={last}", {}, 410), ("", {"last-event-id": "9" * 40}, 410), ("", {"last-event-id": "²"}, 200),
        ("", {"last-event-id": "-1"}, 200), ("", {}, 200),
    ):  # fmt: skip
        raw = {name: value.encode() for name, value in headers.items()}
        with (
            httpx2.Client(base_url=fleet.urls()[0], verify=context) as client,
            client.stream("GET", f"{ENDLESS}{query}", headers=raw) as answer,  # type: ignore[arg-type]
        ):
            assert answer.status_code == status, (query, headers)
