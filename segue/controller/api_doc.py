"""What the OpenAPI document says of answers that every path may give. It must never promise less than can happen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter

from segue.wire.frames import Problem

REASONS: Final = {
    400: "The request was not understood.",
    403: "The caller may not do that.",
    404: "There is no such thing, or none that the caller may see.",
    409: "It is not as the caller thinks, or somebody was faster.",
    413: "The body is too large.",
    422: "Understood, and refused: the reason is in `why`.",
    429: "Too often.",
    502: "Whoever had to be asked for it does not answer: the store, or an agent.",
    504: "No answer in time. What was begun may still be done.",
}
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": reason, "content": _PROBLEM} for status, reason in REASONS.items()
}
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Until the caller hangs up.", "content": {"text/event-stream": {"schema": {}}}},
    410: {"description": "What followed that revision is gone: list again.", "content": _PROBLEM},
}
CA: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "PEM.", "content": {"application/x-pem-file": {"schema": {"type": "string"}}}}
}


def describe(app: FastAPI) -> None:
    """The document of FastAPI, with our errors in the place of its own and the two ways to say who calls."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = TypeAdapter(Problem).json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for operation in _operations(document):
                operation["responses"]["422"] = PROBLEMS[422]
            document["components"]["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            }
            document["security"] = [{"token": []}, {"certificate": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()
