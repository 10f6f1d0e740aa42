"""The sizes of the style guide, and the tables that docs are printed from."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.model import lifecycle

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 50
SOURCES = sorted(p for room in ("segue", "demo", "bench", "faults") for p in (ROOT / room).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LINES, f"{lines} lines: two ideas in one file?"
    for node in functions(path):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "the first line is what the module is for"


def test_the_diagram_in_the_docs_is_the_table() -> None:
    page = (ROOT / "docs" / "reference" / "stages.md").read_text()
    assert lifecycle.diagram() in page


def test_every_stage_can_be_reached_and_ends() -> None:
    reached = {lifecycle.Stage.PREPARATION}
    while True:
        more = {b for (a, _), b in lifecycle.NEXT.items() if a in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(lifecycle.Stage)
    assert all(stage not in lifecycle.ENDS for stage, _ in lifecycle.NEXT)
