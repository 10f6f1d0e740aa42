"""The hosts that the CLI knows, and calls to their agents. It decides nothing and keeps nothing."""

from __future__ import annotations

import json
import os
import ssl
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import typer

from segue.cli import answers, central, output, renewing
from segue.errors import Kind, Refused, SegueError

CALL_S = 30.0
BEGIN_S = 600.0
"""Before a migration begins, both hosts may have to read the whole files that lie below its disks."""
LAB_CONTEXT = Path(os.environ.get("SEGUE_LAB_DIR", "/var/lib/segue-lab")) / os.environ.get(
    "SEGUE_LAB_NAME", "lab"
)
PLACES = (
    Path("~/.config/segue/context.toml").expanduser(),
    Path("/etc/segue/context.toml"),
    LAB_CONTEXT / "context.toml",
)


@dataclass(frozen=True)
class Host:
    """One agent and how to reach it."""

    name: str
    url: str
    tls: dict[str, str] = field(default_factory=dict)

    def client(self, within_s: float = CALL_S) -> httpx2.Client:
        """A client of this agent."""
        timeout = httpx2.Timeout(within_s, connect=5.0)
        if self.url.startswith("unix://"):
            # Nothing is verified on a socket of this host; else all of the system's authorities are read first.
            transport = httpx2.HTTPTransport(uds=self.url.removeprefix("unix://"), verify=False)
            return httpx2.Client(transport=transport, base_url="http://agent/v1", timeout=timeout)
        return httpx2.Client(base_url=f"{self.url}/v1", verify=self.context(), timeout=timeout)

    def context(self) -> ssl.SSLContext:
        """TLS with the operator's certificate. Raises Refused when there is none that can be used."""
        try:
            context = ssl.create_default_context(cafile=self.tls.get("ca"))
            context.load_cert_chain(self.tls["cert"], self.tls["key"])
        except (KeyError, OSError) as error:
            raise Refused(
                what=f"{self.name} cannot be called",
                why=f"the operator's certificate cannot be used: {renewing.unusable(self.tls, error)}",
                todo="Name ca, cert and key under [tls] in the context file.",
                kind=Kind.AUTH,
            ) from error
        return context

    def call(self, method: str, path: str, body: object = None, *, within_s: float = CALL_S) -> Any:
        """The answer's JSON, or its text. Raises the error that the agent named, or that it cannot be reached."""
        try:
            with self.client(within_s) as client:
                answer = client.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise self.unreachable(error) from error
        return answers.read(answer, self.name)

    def events(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Events as they come; ends when the connection does."""
        with self.client(60.0) as client, client.stream("GET", "/events", params={"since": since}) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def unreachable(self, error: Exception) -> Refused:
        """The error of a host that gives no answer."""
        renewing.demand_holds(self.tls)
        auth = isinstance(error.__cause__, ssl.SSLError) or "certificate" in str(error).lower()
        return Refused(
            what=f"{self.name} {'does not trust this caller' if auth else 'does not answer'}",
            why=f"{self.url}: {error or type(error).__name__}",
            todo="Look at the certificates in the context file."
            if auth
            else f"Look whether the agent runs on {self.name} and the network to it works.",
            kind=Kind.AUTH if auth else Kind.UNREACHABLE,
        )


@dataclass(frozen=True)
class Fleet:
    """All hosts of the context."""

    hosts: dict[str, Host]
    path: Path
    controller: central.Controller | None = None

    def demand_controller(self) -> central.Controller:
        """Raises Refused where the context names none."""
        if self.controller is None:
            raise Refused(
                what="no controller is known",
                why=f"{self.path} has no [controller] with urls",
                todo="In a lab with controllers: segue lab exec client1 -- segue status"
                if self.path.is_relative_to(LAB_CONTEXT.parent)
                else "Add it (docs/reference/context.md), or name hosts: without a controller segue asks each.",
                kind=Kind.USAGE,
            )
        return self.controller

    def host(self, name: str) -> Host:
        """Raises Refused for a host that is not there."""
        if name not in self.hosts:
            raise Refused(
                what=f"there is no host {name}",
                why=f"{self.path} knows: {', '.join(sorted(self.hosts)) or 'none'}",
                todo="Choose one of them, or add it to the context file.",
                kind=Kind.NOT_FOUND,
            )
        return self.hosts[name]

    def ask_all(self, path: str) -> tuple[dict[str, Any], dict[str, SegueError]]:
        """The same question to every host at once: (answers, errors) by host."""
        answers: dict[str, Any] = {}
        errors: dict[str, SegueError] = {}

        def ask(host: Host) -> None:
            try:
                answers[host.name] = host.call("GET", path, within_s=10.0)
            except SegueError as error:
                errors[host.name] = error

        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(ask, self.hosts.values()))
        return answers, errors

    def guests(self) -> tuple[list[dict[str, Any]], dict[str, SegueError]]:
        """Every guest of every host that answers."""
        found_by_host, errors = self.ask_all("/guests")
        every = [guest for host in sorted(found_by_host) for guest in found_by_host[host]]
        return sorted(every, key=lambda guest: guest["name"]), errors

    def every_guest(self) -> tuple[list[dict[str, Any]], dict[str, SegueError]]:
        """As the controller knows them, which misses none; else as `guests`."""
        return (self.controller.all("/guests"), {}) if self.controller is not None else self.guests()

    def find(self, name: str) -> tuple[Host, dict[str, Any]]:
        """The host that has the guest: its owner where several hold something of it. Raises Refused.

        The highest epoch decides: a host that comes back from a power loss may still show what it once owned.
        """
        guests, errors = self.guests()
        found = [guest for guest in guests if guest["name"] == name]
        rank = {"owner": 0, "offered": 0, "released": 1, "incoming": 2}
        if found:
            best = min(found, key=lambda guest: (-guest["epoch"], rank.get(guest["phase"], 3)))
            return self.hosts[best["host"]], best
        unasked = f"; not asked, because they do not answer: {', '.join(sorted(errors))}" if errors else ""
        raise Refused(
            what=f"there is no guest {name}",
            why=f"no host that answers has it{unasked}",
            todo="`segue vm list` shows all guests.",
            kind=Kind.UNREACHABLE if errors else Kind.NOT_FOUND,
        )

    def migration(self, number: str) -> tuple[Host, dict[str, Any]]:
        """A migration by its id or the beginning of it. Raises Refused."""
        found_by_host, errors = self.ask_all("/migrations")
        found = [
            (h, m) for h, records in found_by_host.items() for m in records if m["id"].startswith(number)
        ]
        if len(found) == 1:
            return self.hosts[found[0][0]], found[0][1]
        raise Refused(
            what=f"there is no migration {number}"
            if not found
            else f"'{number}' is the beginning of several",
            why=f"not asked: {', '.join(sorted(errors))}"
            if errors
            else "no host has a record of just one like that",
            todo="`segue migration list` shows all.",
            kind=Kind.NOT_FOUND,
        )


def say_missing(guests: list[dict[str, Any]], errors: dict[str, SegueError]) -> None:
    """Hosts whose guests are not in a list that was shown. Ends the command where nothing is in it for that reason."""
    for host, error in sorted(errors.items()):
        output.say(f"not asked: {host}: {error.why}")
    if errors and not guests:
        raise typer.Exit(8)


def load() -> Fleet:
    """The context file: $SEGUE_CONTEXT, or the first that there is. Raises Refused where there is none."""
    chosen = os.environ.get("SEGUE_CONTEXT")
    path = Path(chosen) if chosen else next((place for place in PLACES if place.is_file()), None)
    if path is None or not path.is_file():
        raise Refused(
            what="no host is known",
            why=f"there is no context file: {path or ', '.join(map(str, PLACES))}",
            todo="Make a lab with `segue lab up`, or write a context file (docs/reference/context.md).",
            kind=Kind.USAGE,
        )
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise Refused(
            what="the context file cannot be read",
            why=f"{path}: {error}",
            todo="Correct it.",
            kind=Kind.USAGE,
        ) from error
    return _fleet(content, path)


def _fleet(content: dict[str, Any], path: Path) -> Fleet:
    """A context without hosts of its own has those that its controller knows."""
    tls, told = content.get("tls", {}), content.get("controller", {})
    controller = None
    if told.get("urls"):
        urls = _urls(told["urls"], path)
        controller = central.Controller(urls, tls, told.get("token", ""))
    hosts = {name: Host(name, url, tls) for name, url in content.get("hosts", {}).items()}
    if controller and "hosts" not in content:
        known = [host["report"] for host in controller.all("/hosts") if host["report"]]
        hosts = {report["name"]: Host(report["name"], report["url"], tls) for report in known}
    return Fleet(hosts, path, controller)


def _urls(told: Any, path: Path) -> tuple[str, ...]:
    """Of the controllers. Raises Refused for what can be none."""
    wrong = "" if isinstance(told, list) else f"{told!r} is no list"
    for url in [] if wrong else told:
        parts = urlsplit(str(url))
        if parts.scheme != "https" or not parts.hostname:
            wrong = f"{url!r} is no https URL"
    if wrong:
        raise Refused(
            what="the context file cannot be used",
            why=f"{path}: urls under [controller]: {wrong}",
            todo='Write it as urls = ["https://192.0.2.10:7440"].',
            kind=Kind.USAGE,
        )
    return tuple(url.rstrip("/") for url in told)
