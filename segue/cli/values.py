"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.model.ladder import LADDERS, Rung

SECONDS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
BYTES: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
BYTES_DECIMAL: Final = {
    "k": 1 << 10,
    "m": 1 << 20,
    "g": 1 << 30,
    "t": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}
BITS_PER_S: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
MOST_SHARE: Final = 0.99
"""QEMU takes at most 99 % of a processor's time."""
SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)(?:/s)?\s*")


def duration_s(text: str) -> float:
    """'50ms' -> 0.05. Raises Refused."""
    number, unit = _split(text, "a duration like 50ms, 10s or 5m")
    if unit not in SECONDS:
        raise _wrong(text, "a duration like 50ms, 10s or 5m")
    return number * SECONDS[unit]


def size_bytes(text: str) -> int:
    """'256MiB' -> 268435456. Raises Refused."""
    number, unit = _split(text, "a size like 256MiB or 4GiB")
    factor = {**BYTES, **BYTES_DECIMAL}.get(unit)
    if factor is None:
        raise _wrong(text, "a size like 256MiB or 4GiB")
    return int(number * factor)


def rate_bytes_per_s(text: str) -> int:
    """'1gbit' -> 125000000, '100MiB/s' -> 104857600. Raises Refused."""
    number, unit = _split(text, "a rate like 1gbit or 100MiB")
    if unit in BITS_PER_S:
        return int(number * BITS_PER_S[unit] / 8)
    return size_bytes(text.split("/", maxsplit=1)[0])


def share(text: str) -> float:
    """'30%' -> 0.3, '0.3' -> 0.3. Raises Refused."""
    number, unit = _split(text.replace("%", "percent"), "a share like 30%")
    found = number / 100 if unit == "percent" else number
    if unit not in {"", "percent"} or not 0 <= found <= MOST_SHARE:
        raise _wrong(text, f"a share from 0% to {MOST_SHARE:.0%}")
    return found


def ladder(text: str) -> tuple[Rung, ...]:
    """A policy's name, or rungs by comma. Raises Refused."""
    if text in LADDERS:
        return LADDERS[text]
    words = [word.strip() for word in text.split(",")]
    if not set(words) <= set(Rung):
        raise _wrong(text, f"{' or '.join(LADDERS)}, or rungs out of {', '.join(Rung)}")
    return tuple(Rung(word) for word in words)


def show_bytes(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_ms(seconds: float) -> str:
    """0.0123 -> '12.3 ms'."""
    return f"{seconds * 1e3:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def show_time(seconds: float) -> str:
    """Seconds since 1970, in this machine's time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _split(text: str, wanted: str) -> tuple[float, str]:
    found = SHAPE.fullmatch(text)
    if found is None:
        raise _wrong(text, wanted)
    return float(found[1]), found[2].lower()


def _wrong(text: str, wanted: str) -> Refused:
    return Refused(
        what=f"'{text}' was not understood",
        why=f"it is not {wanted}",
        todo=f"Write it as {wanted}.",
        kind=Kind.USAGE,
    )


def show_duration(seconds: float) -> str:
    """`9m 12s`."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s" if minutes else f"{rest}s"


def choice(text: str, known: tuple[str, ...]) -> str:
    """`text`, if it is one of `known`. Raises Refused."""
    if text not in known:
        raise _wrong(text, f"one of {', '.join(known)}")
    return text


def labels(texts: Iterable[str]) -> dict[str, str]:
    """`["team=web", "tier=front"]`. Raises Refused."""
    found = {}
    for text in texts:
        label, sign, value = text.partition("=")
        if not (label and sign):
            raise _wrong(text, "a label like team=web")
        found[label] = value
    return found


def disk(text: str) -> dict[str, Any]:
    """`size=1GiB,format=raw,storage=local`, where only the size must be given. Raises Refused."""
    parts = [part.partition("=") for part in text.split(",")]
    given = {key: value for key, _, value in parts}
    if "size" not in given or given.keys() - {"size", "format", "storage"}:
        raise _wrong(text, "size=1GiB[,format=qcow2|raw][,storage=shared|local]")
    return {
        "size_bytes": size_bytes(given["size"]),
        "format": choice(given.get("format", "qcow2"), ("qcow2", "raw")),
        "storage": choice(given.get("storage", "shared"), ("shared", "local")),
    }
