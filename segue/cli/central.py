"""Calls to the fleet's controllers: any of them answers, the first that can is asked. It decides nothing."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2

from segue.cli import answers, nearest, output, renewing
from segue.errors import Kind, Refused
from segue.model.roster import CONTROLLER_NAME
from segue.wire.frames import BEHIND

CALL_S: Final = 30.0
LOOK_S: Final = 0.5
PAGE: Final = 500


@dataclass(frozen=True)
class Controller:
    """The controllers of a context, with the caller's certificate or token."""

    urls: tuple[str, ...]
    tls: dict[str, str] = field(default_factory=dict)
    token: str = ""
    _order: list[str] = field(default_factory=list, compare=False)
    """Whoever answered last comes first: another one may be a moment behind it."""
    _warned: list[str] = field(default_factory=list, compare=False)
    _renewed: list[bool] = field(default_factory=list, compare=False)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON. Raises the error that the controller named, or that none can be reached.

        A controller that does not see the store is left for another; what it knows is shown where none does.
        """
        if not self._order:
            self._order.extend(nearest.first(self.urls))
        # Whoever is asked second may be asked for what the first one did and could not say any more.
        key = {"idempotency-key": str(uuid.uuid4())} if method == "POST" else {}
        problems, old = [], None
        for url in list(self._order):
            try:
                answer = self._ask(url, method, path, body, key)
                if answer.status_code >= 400 or BEHIND not in answer.headers:
                    found = answers.read(answer, url)
                    self._renew()
                    return found
                old = old or answer
                problems.append(f"{url}: it does not see the store")
            except httpx2.HTTPError as error:
                problems.append(f"{url}: {error or type(error).__name__}")
            except Refused as error:
                if error.kind is not Kind.UNREACHABLE:
                    raise
                problems.append(f"{url}: {error.what}: {error.why}")
            self._order.append(self._order.pop(0))
        if old is not None:
            if not self._warned:
                self._warned.append(old.headers[BEHIND])
                output.say(f"No controller sees the store; this is what was known {self._warned[0]} s ago.")
            return answers.read(old, "a controller")
        self._order.clear()
        if not self.token:
            renewing.demand_holds(self.tls)
        raise Refused(
            what="no controller answers",
            why="; ".join(problems) or "the context names none",
            todo="Look whether one runs and sees its store, and at [controller] and [tls] in the context file.",
            kind=Kind.UNREACHABLE,
        )

    def _renew(self) -> None:
        """The caller's certificate, once in each command, after its first answer."""
        if not self.token and not self._renewed:
            self._renewed.append(True)
            renewing.renew(self.tls, self)

    def _ask(self, url: str, method: str, path: str, body: object, key: dict[str, str]) -> httpx2.Response:
        with self._client(url) as client:
            name = {"sni_hostname": CONTROLLER_NAME}
            return client.request(method, path, json=body, extensions=name, headers=key)

    def all(self, path: str) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        after = ""
        sign = "&" if "?" in path else "?"
        while True:
            page = self.call("GET", f"{path}{sign}limit={PAGE}&after={quote(after)}")
            found += page["items"]
            after = page["next"]
            if not after:
                return found

    def follow(self, number: str) -> Iterator[dict[str, Any]]:
        """The task whenever it has changed, until it has ended. A controller that dies is not its end."""
        last, silent_s = None, 0.0
        while True:
            try:
                task = dict(self.call("GET", f"/tasks/{number}"))
            except Refused as error:
                silent_s += LOOK_S
                if error.kind is not Kind.UNREACHABLE or silent_s > CALL_S:
                    raise
                time.sleep(LOOK_S)
                continue
            silent_s = 0.0
            if task != last:
                yield task
            if task["ended_s"]:
                return
            last = task
            time.sleep(LOOK_S)

    def _client(self, url: str) -> httpx2.Client:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx2.Timeout(CALL_S, connect=3.0)
        return httpx2.Client(base_url=f"{url}/v1", verify=self._context(), timeout=timeout, headers=headers)

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.tls["ca"])
            if not self.token:
                renewing.settle(self.tls)
                context.load_cert_chain(self.tls["cert"], self.tls["key"])
        except (KeyError, OSError) as error:
            raise Refused(
                what="the controller cannot be called",
                why=f"the caller's certificate cannot be used: {renewing.unusable(self.tls, error)}",
                todo="Name ca, cert and key under [tls] in the context file, or ca and a token under [controller].",
                kind=Kind.AUTH,
            ) from error
        return context
