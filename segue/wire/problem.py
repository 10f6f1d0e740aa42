"""An error as another program's API told it, turned into the same error here."""

from __future__ import annotations

import msgspec

from segue.errors import CONSEQUENCES, Kind, Refused, SegueError
from segue.wire.frames import Problem


def error_of(content: bytes | str, name: str) -> SegueError:
    """The error in an answer's body."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
        shape = CONSEQUENCES.get(problem.title, Refused)
        return shape(what=problem.what, why=problem.why, todo=problem.todo, kind=Kind(problem.kind))
    except (msgspec.MsgspecError, ValueError) as error:
        return Refused(
            what=f"{name} gave an answer that is no answer",
            why=f"{error}: {content[:80]!r}",
            todo="Look whether a segue agent of this version runs there.",
            kind=Kind.UNREACHABLE,
        )
