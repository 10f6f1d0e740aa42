"""Each line says which migration, guest, host and trace it is about, however little its author knew."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from segue.adapters import logs

WORDS = {"guest": "web1", "migration": "m1", "trace": "a" * 32}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = handlers, level
    logs.forget(["m1", "web1", "uuid-1"])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_about_a_guest_bears_its_migration(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True, host="host1")
    logs.note(["m1", "web1", "uuid-1"], **WORDS)
    log = structlog.get_logger()
    log.info("by its uuid", guest="uuid-1")
    log.warning("by its name", guest="web1", why="ünïcode")
    log.info("by the migration", migration="m1")
    log.info("another guest", guest="db1")
    logs.forget(["m1", "web1", "uuid-1"])
    log.info("afterwards", guest="web1")
    told = lines(capsys)
    for line in told[:3]:
        assert {name: line[name] for name in WORDS} == WORDS
    assert all(line["host"] == "host1" and line["timestamp"].endswith("Z") for line in told)
    assert (told[1]["level"], told[1]["why"]) == ("warning", "ünïcode")
    assert all("migration" not in line for line in told[3:])


def test_a_line_of_a_migrations_task_bears_it_without_being_told(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True, host="host1")
    structlog.contextvars.bind_contextvars(**WORDS)
    structlog.get_logger().info("step failed, trying again", step="retire source")
    (line,) = lines(capsys)
    assert {name: line[name] for name in WORDS} == WORDS


def test_warnings_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True, host="host1")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("asyncio").exception("never retrieved")
    first, second = lines(capsys)
    assert (first["event"], first["logger"], first["host"]) == (
        "Invalid HTTP request received.",
        "uvicorn.error",
        "host1",
    )
    assert "ValueError: odd" in second["exception"]


def test_as_it_comes_a_line_is_logfmt(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=False, host="host1")
    structlog.get_logger().info("agent serves", version="1")
    assert "host=host1" in capsys.readouterr().out
