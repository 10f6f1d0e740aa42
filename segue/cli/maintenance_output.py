"""What a command on a host wrote, as lines for a terminal: its end, and nothing that a terminal would obey."""

from __future__ import annotations

from typing import Final

LINES: Final = 20
CHARS: Final = 200
INDENT: Final = "    | "


def shown(text: str) -> list[str]:
    """The last lines, indented; of more than those it says how many there are."""
    lines = [_plain(line) for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    left = len(lines) - LINES
    more = [f"{INDENT}[{left} more lines before: `-o json` has them]"] if left > 0 else []
    return [*more, *(f"{INDENT}{line}".rstrip() for line in lines[-LINES:])]


def _plain(line: str) -> str:
    """Whoever wrote it may be broken, or worse: escape sequences could hide what is above."""
    safe = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line.expandtabs())
    return safe if len(safe) <= CHARS else f"{safe[:CHARS]}[...]"
