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
            raw = await answer.content.read(BYTES)
            told = _decoded(raw)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise _silent(url, str(error) or type(error).__name__) from error
    if told.get("status") != "success":
        raise _silent(url, str(told.get("error", "its answer is no success"))[:200])
    return [_words(series) for series in _series(told.get("data") or {})]


def _decoded(raw: bytes) -> dict[str, Any]:
    told = json.loads(raw)
    if not isinstance(told, dict):
        raise ValueError("its answer is no answer of Prometheus")
    return told


def _series(data: dict[str, Any]) -> list[dict[str, Any]]:
    """A number counts as something where it is not 0."""
    result = data.get("result") or []
    if data.get("resultType") == "scalar":
        return [{"metric": {}, "value": result}] if float(result[1]) else []
    return [series for series in result if isinstance(series, dict)]


def _words(series: dict[str, Any]) -> str:
    labels = {k: v for k, v in (series.get("metric") or {}).items() if k not in {"__name__", "alertstate"}}
    name = labels.pop("alertname", (series.get("metric") or {}).get("__name__", "a value"))
    inside = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())[:SHOWN])
    return f"{name} ({inside})" if inside else str(name)


def _silent(url: str, why: str) -> Refused:
    return Refused(
        what="alerts are not known",
        why=f"{url}: {why}",
        todo="Look at Prometheus and at the query; nothing begins while nobody can say that all is well.",
        kind=Kind.UNREACHABLE,
    )
