"""Joins this host to a fleet: a key is made here, the CA is known by the token, certificate and agent.toml are written.

The key never leaves the host, and the token's secret is told to nobody whose CA is not the token's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from segue.adapters import pki, pki_files
from segue.adapters.store import journal
from segue.agent.config import Config
from segue.errors import Kind, Refused
from segue.model.roster import CONTROLLER_NAME, NAME
from segue.wire import problem, tokens

WITHIN_S: Final = 15.0


@dataclass(frozen=True)
class Wish:
    """Where to, and who this host is; `name` and `address` count only where there is no agent.toml yet."""

    token: str
    controllers: tuple[str, ...]
    config: Path
    name: str
    address: str


def join(wish: Wish) -> str:
    """The name under which it has joined. Raises Refused; then nothing is changed."""
    joining = tokens.unpack(wish.token)
    written = _read(wish.config)
    name = str(written.get("name", wish.name))
    if not NAME.fullmatch(name):
        raise _no(
            f"{name!r} cannot be a host's name", "Give one with --name: small letters, digits, hyphens."
        )
    if not written and not wish.address:
        raise _no(
            "there is no agent.toml yet, and no address", "Give the address of this host with --address."
        )
    paths = _paths(wish.config, written)
    pair = pki.Pair(paths["cert"], paths["key"])
    fresh = pki_files.fresh(pair).key
    try:
        request = pki.new_request(fresh, name)
        answer = asyncio.run(_ask(wish.controllers, joining, name, request))
        pki.write_certificate(paths["ca"], answer["ca"].encode())
        pki_files.put(pair, answer["certificate"].encode())
    finally:
        fresh.unlink(missing_ok=True)
    _write(wish, written, name, paths)
    journal.belong(Path(written.get("state_dir", Config.state_dir)) / "journal.db", answer.get("fleet", ""))
    return name


async def _ask(urls: tuple[str, ...], joining: tokens.Joining, name: str, request: str) -> dict[str, Any]:
    """The first controller that answers decides."""
    problems = []
    for url in urls:
        try:
            async with asyncio.timeout(WITHIN_S):
                ca = await _pinned_ca(url, joining.ca)
                return await _joined(url, ca, joining, name, request)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problems.append(f"{url}: {str(error) or type(error).__name__}")
    raise Refused(
        what=f"{name} does not join",
        why="; ".join(problems),
        todo="Look whether a controller runs there and the network to it works.",
        kind=Kind.UNREACHABLE,
    )


async def _pinned_ca(url: str, expected: str) -> str:
    """The controller's CA, if it is the token's; until then nobody is trusted, and nothing is told."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/ca", ssl=False) as answer:
        pem = await answer.text()
    try:
        found = pki.fingerprint(pem.encode())
    except ValueError as error:
        raise _no(f"{url} gave no CA: {error}", "Look at the URL.") from error
    if found != expected:
        raise _no(
            f"the CA of {url} is not the one that the token was made for",
            "Look at the URL; somebody may stand between this host and the controller.",
        )
    return pem


async def _joined(url: str, ca: str, joining: tokens.Joining, name: str, request: str) -> dict[str, Any]:
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    body = {"id": joining.id, "secret": joining.secret, "name": name, "request": request}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/join", json=body, ssl=context, server_hostname=CONTROLLER_NAME) as answer,
    ):
        content = await answer.read()
        if answer.status >= 400:
            raise problem.error_of(content, url)
        return dict(msgspec.json.decode(content))


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _no(f"{config}: {error}", "Mend it first.") from error


def _paths(config: Path, written: dict[str, Any]) -> dict[str, Path]:
    folder, told = config.parent / "pki", written.get("tls", {})
    usual = {"ca": "ca.pem", "cert": "host.pem", "key": "host.key"}
    return {key: Path(told.get(key, folder / file)) for key, file in usual.items()}


def _write(wish: Wish, written: dict[str, Any], name: str, paths: dict[str, Path]) -> None:
    """What a person wrote stays; a key that agent.toml does not have is put before its first table."""
    lines = []
    if not written:
        lines = [f"name = {json.dumps(name)}", f"address = {json.dumps(wish.address)}"]
    lines.append(f"controllers = {json.dumps(list(wish.controllers))}")
    old = wish.config.read_text() if written else ""
    kept = [line for line in old.splitlines() if not line.startswith("controllers = ")]
    tls = (
        []
        if "tls" in written
        else ["", "[tls]", *(f"{key} = {json.dumps(str(path))}" for key, path in paths.items())]
    )
    text = "\n".join([*lines, *kept, *tls]) + "\n"
    tomllib.loads(text)
    half = wish.config.with_name(f".{wish.config.name}.half")
    half.write_text(text)
    half.replace(wish.config)


def _no(why: str, todo: str) -> Refused:
    return Refused(what="this host does not join", why=why, todo=todo, kind=Kind.USAGE)
