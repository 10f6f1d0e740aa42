"""Which figures and labels an expression of PromQL names: enough of its grammar for rules and dashboards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

FUNCTIONS: Final = frozenset(
    (
        "sum",
        "min",
        "max",
        "count",
        "topk",
        "bottomk",
        "rate",
        "increase",
        "histogram_quantile",
        "time",
        "vector",
    )
)
WORDS: Final = frozenset(("and", "or", "unless", "bool"))
GROUPING: Final = frozenset({"by", "without"})
TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<range>\[[^\]]*\])|(?P<number>\d+(?:\.\d+)?)
    |(?P<word>[a-zA-Z_:][\w:]*)|(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^(){},=<>]))""",
    re.VERBOSE,
)


@dataclass
class Named:
    """What one expression names. `grouped`: labels of `by (...)`; `matched`: per metric, those between braces."""

    metrics: set[str] = field(default_factory=set)
    grouped: set[str] = field(default_factory=set)
    matched: dict[str, dict[str, str]] = field(default_factory=dict)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Raises ValueError for what is no PromQL."""
    at = 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"not understood: {text[at : at + 30]!r}")
        assert found.lastgroup
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def named(text: str) -> Named:
    """Raises ValueError for a word that is neither a function that we know nor where a metric may stand."""
    told, parts = Named(), [*tokens(text), ("end", "")]
    at = 0
    while at < len(parts):
        kind, word = parts[at]
        following = parts[at + 1][1] if at + 1 < len(parts) else ""
        if kind == "word" and word in GROUPING:
            at = _labels(parts, at + 1, told)
        elif kind == "word" and (following == "(" or following in GROUPING):
            if word not in FUNCTIONS:
                raise ValueError(f"no function {word}")
            at += 1
        elif kind == "word" and word not in WORDS:
            told.metrics.add(word)
            at = _matchers(parts, at + 1, told.matched.setdefault(word, {}))
        else:
            at += 1
    return told


def _labels(parts: list[tuple[str, str]], at: int, told: Named) -> int:
    if parts[at][1] != "(":
        raise ValueError("by without labels")
    while parts[at][1] != ")":
        if parts[at][0] == "word":
            told.grouped.add(parts[at][1])
        at += 1
    return at + 1


def _matchers(parts: list[tuple[str, str]], at: int, told: dict[str, str]) -> int:
    if parts[at][1] != "{":
        return at
    while parts[at][1] != "}":
        if parts[at][0] == "word":
            told[parts[at][1]] = parts[at + 2][1].strip('"')
        at += 1
    return at + 1
