"""A watch at one etcd after another: it goes on after the last revision seen, and must never skip one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from segue.adapters.store.etcd import gateway, shapes
from segue.adapters.store.etcd.gateway import Broken, EtcdError, Gateway
from segue.adapters.store.etcd.words import Words
from segue.model.store import Away, Batch, Compacted

SILENCE_S: Final = 10.0
"""A watch without a member for this long says so, instead of showing an old world."""
LINE_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class _Opened:
    """The watch begins at a member that is as far as this."""

    revision: int


async def watch(at: Gateway, words: Words, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
    """Port `Store.watch`."""
    heard_s = time.monotonic()
    while True:
        endpoint = at.endpoint()
        try:
            async with contextlib.aclosing(_one(at, endpoint, words, prefix, after)) as parts:
                async for part in parts:
                    heard_s = time.monotonic()
                    if part is not None and part.revision > after:
                        after = part.revision
                        yield part
        except (Broken, EtcdError) as error:
            if isinstance(error, EtcdError) and not gateway.stale(error):
                raise gateway.told(error) from error
            if at.closed:
                raise gateway.closed() from error
            at.leave(endpoint)
            if time.monotonic() - heard_s > SILENCE_S:
                raise _silent(str(error)) from error
            await asyncio.sleep(gateway.PAUSE_S)


async def _one(
    at: Gateway, endpoint: str, words: Words, prefix: str, after: int
) -> AsyncGenerator[Batch | None, None]:
    """The watch at one member; None where it only shows that it lives. Raises Broken, Compacted, EtcdError."""
    wish = {
        "create_request": {**words.span(prefix), "start_revision": str(after + 1), "progress_notify": True}
    }
    token = await at.token(endpoint, at.attempt_s)
    # Without the second header a member that lost the others would keep the stream open, and silent.
    headers = {"Grpc-Metadata-hasleader": "true", **({"Authorization": token} if token else {})}
    asked = at.session().post(
        endpoint + "/v3/watch", data=msgspec.json.encode(wish), headers=headers, read_bufsize=1 << 20
    )
    try:
        async with asyncio.timeout(at.attempt_s):
            answer = await asked
        async with answer:
            async for line in _lines(at, endpoint, answer.content, words):
                part = _part(at, token, line, words, after)
                if not isinstance(part, _Opened):
                    yield part
                    continue
                if part.revision < after:
                    await _demand_reached(at, endpoint, words, after)
                yield None
    except (aiohttp.ClientError, OSError) as error:
        raise Broken(f"{endpoint}: {str(error) or type(error).__name__}", sent=False) from error


async def _demand_reached(at: Gateway, endpoint: str, words: Words, after: int) -> None:
    """Raises Compacted where an empty store took the place of the one that was watched: it would say nothing for long.

    A member that lags behind the others is none.
    """
    found = await at.ask(
        endpoint,
        "/v3/kv/range",
        {**words.span(""), "limit": "1", "keys_only": True},
        shapes.Range,
        at.attempt_s,
    )
    if found.header.revision < after:
        raise Compacted(after, f"this store is at revision {found.header.revision} and was never there")


async def _lines(
    at: Gateway, endpoint: str, content: aiohttp.StreamReader, words: Words
) -> AsyncGenerator[bytes, None]:
    """Whole lines; an empty one when there was nothing but a sign of life."""
    rest = bytearray()
    while True:
        try:
            async with asyncio.timeout(at.attempt_s):
                chunk = await _read(endpoint, content)
        except TimeoutError:
            # Linearizable: answered only by a member that still has a majority with it.
            alive = {**words.span(""), "limit": "1", "keys_only": True}
            await at.ask(endpoint, "/v3/kv/range", alive, shapes.Range, at.attempt_s)
            yield b""
            continue
        if not chunk:
            raise Broken(f"{endpoint} ended the watch", sent=False)
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            yield bytes(line)
        rest = last
        if len(rest) > LINE_BYTES:
            raise Broken(f"{endpoint} sends a line without an end", sent=False)


async def _read(endpoint: str, content: aiohttp.StreamReader) -> bytes:
    try:
        return await content.readany()
    except RuntimeError as error:  # what a reader says whose connection we closed
        raise Broken(f"{endpoint}: {error}", sent=False) from error


def _part(at: Gateway, token: str, raw: bytes, words: Words, after: int) -> Batch | _Opened | None:
    if not raw:
        return None
    try:
        line = msgspec.json.decode(raw, type=shapes.Line, strict=False)
    except msgspec.MsgspecError as error:
        raise Broken(f"it answers as no etcd does: {raw[:80]!r}", sent=False) from error
    if line.error is not None or line.result is None:
        message = line.error.message if line.error else raw[:80].decode(errors="replace")
        raise _ended(at, token, message)
    part = line.result
    if part.compact_revision:
        raise Compacted(after, f"what happened before revision {part.compact_revision} is not kept")
    if part.canceled:
        raise _ended(at, token, part.cancel_reason)
    return _Opened(part.header.revision) if part.created and not part.events else words.batch(part)


def _ended(at: Gateway, token: str, message: str) -> Broken | EtcdError:
    """A token that is over is no reason to end; missing rights are."""
    if "permission denied" in message:
        return EtcdError(gateway.DENIED, message)
    if any(text in message for text in gateway.STALE):
        at.forget(token)
    return Broken(message, sent=False)


def _silent(why: str) -> Away:
    return Away(
        what=f"the store etcd was not heard for {SILENCE_S:g} s",
        why=why,
        todo="Look whether a majority of its members runs and can be reached: `etcdctl endpoint health`.",
    )
