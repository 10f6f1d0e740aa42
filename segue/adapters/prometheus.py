"""Asks a Prometheus server one question. It decides nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import aiohttp

from segue.errors import Kind, Refused

ANSWER_S: Final = 10.0
SHOWN: Final = 5
BYTES: Final = 1 << 20


async def found(url: str, query: str) -> list[str]:
    """What the query gives now, each series in words. Raises Refused where nobody answers it."""
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            aiohttp.ClientSession() as session,
            session.get(f"{url.rstrip('/')}/api/v1/query", params={"query": query}) as answer,
        ):
            told = _decoded(await _body(answer))
            if told.get("status") != "success":
                raise ValueError(
                    str(told.get("error") or f"its answer is no success ({answer.status})")[:200]
                )
            return [_words(series) for series in _series(told.get("data"))]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise _silent(url, str(error) or f"no answer within {ANSWER_S:g} s") from error


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """All of it, in however many pieces it comes. Raises ValueError for one that is too long to be read."""
    raw = b""
    while piece := await answer.content.read(BYTES):
        raw += piece
        if len(raw) > BYTES:
            raise ValueError(f"its answer is longer than {BYTES} bytes: let the query give less")
    return raw


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"what answers is no Prometheus: {raw[:60]!r}") from error
    if not isinstance(told, dict):
        raise ValueError(f"what answers is no Prometheus: {raw[:60]!r}")
    return told


def _series(data: Any) -> list[dict[str, Any]]:
    """A number counts as something where it is not 0. Raises ValueError: whatever is not understood is no silence."""
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    if kind in {"vector", "matrix"} and isinstance(result, list) and all(isinstance(s, dict) for s in result):
        return result
    if kind == "scalar" and isinstance(result, list) and len(result) == 2:
        return [{"metric": {}, "value": result}] if float(str(result[1])) else []
    raise ValueError(f"its answer is neither series nor a number: {str(data)[:60]}")


def _words(series: dict[str, Any]) -> str:
    metric = series.get("metric")
    metric = metric if isinstance(metric, dict) else {}
    labels = {k: v for k, v in metric.items() if k not in {"__name__", "alertstate"}}
    name = labels.pop("alertname", metric.get("__name__", "a value"))
    inside = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())[:SHOWN])
    return f"{name} ({inside})" if inside else str(name)


def _silent(url: str, why: str) -> Refused:
    return Refused(
        what="alerts are not known",
        why=f"{url}: {why}",
        todo="Look at Prometheus and at the query; nothing begins while nobody can say that all is well.",
        kind=Kind.UNREACHABLE,
    )
