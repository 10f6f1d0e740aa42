"""The answer of an agent or a controller: its content, or the error that it named."""

from __future__ import annotations

from typing import Any

import httpx2

from segue.errors import CONSEQUENCES, Kind, Refused


def read(answer: httpx2.Response, name: str) -> Any:
    """Raises that error, or Refused for what is no answer."""
    if 300 <= answer.status_code < 400:  # Of a path with a part that is empty: nothing was done.
        raise Refused(
            what="nothing was done",
            why=f"a name is empty: {answer.request.url.path}",
            todo="Give the name. In a script: is a variable unset?",
            kind=Kind.USAGE,
        )
    if answer.status_code < 400:
        if not answer.content:
            return None
        kind = answer.headers.get("content-type", "")
        return answer.json() if kind.startswith("application/json") else answer.text
    try:
        problem = answer.json()
        shape = CONSEQUENCES[problem["title"]]
        raise shape(
            what=problem["what"], why=problem["why"], todo=problem["todo"], kind=Kind(problem["kind"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            what=f"{name} gave an answer that was not understood",
            why=f"{answer.status_code}: {answer.text[:200]}",
            todo="Run the same version of segue here and there.",
            kind=Kind.UNREACHABLE,
        ) from error
