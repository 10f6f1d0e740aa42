"""Labels and taints as people write changes of them: `rack=r7` sets, `rack-` takes away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from segue.cli import fleet_file
from segue.errors import Kind, Refused

SOFT: Final = ":soft"
Changes = Annotated[list[str], typer.Argument(help="As rack=r7; rack- takes one away.")]


def labels(texts: Iterable[str]) -> dict[str, str | None]:
    """Null takes away. Raises Refused."""
    return dict(_change(text) for text in texts)


def taints(texts: Iterable[str]) -> dict[str, bool | None]:
    """`lab`: hard; `old:soft`; `lab-` takes it away. Raises Refused."""
    found: dict[str, bool | None] = {}
    for text in texts:
        name = text.removesuffix("-").removesuffix(SOFT)
        if not name or "=" in name:
            raise Refused(
                what=f"'{text}' was not understood",
                why="it is not the name of a taint",
                todo="Write it as lab, as old:soft, or as lab- to take it away.",
                kind=Kind.USAGE,
            )
        found[name] = None if text.endswith("-") else not text.endswith(SOFT)
    return found


def choices(texts: Iterable[str]) -> dict[str, list[str] | None]:
    """`rack=r1,r2`: any of them; `rack-` takes it away. Raises Refused."""
    return {label: value.split(",") if value else None for label, value in labels(texts).items()}


def _change(text: str) -> tuple[str, str | None]:
    if text.endswith("-") and "=" not in text and len(text) > 1:
        return text[:-1], None
    return fleet_file.pair(text)
