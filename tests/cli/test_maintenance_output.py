"""What commands wrote, in a report: the end of it, and nothing that a terminal obeys."""

from __future__ import annotations

from segue.cli import maintenance_output


def test_the_end_of_a_long_output() -> None:
    lines = maintenance_output.shown("\n".join(f"line {n}" for n in range(100)) + "\n\n")
    assert lines[0] == "    | [80 more lines before: `-o json` has them]"
    assert lines[1:] == [f"    | line {n}" for n in range(80, 100)]


def test_a_terminal_is_told_nothing() -> None:
    [line] = maintenance_output.shown("a\x1b[2J\x00\tb\u202ec" + "x" * 1000)
    assert line.startswith("    | a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}")
    assert line.endswith("x[...]")
    assert line.removesuffix("[...]").isprintable()
    assert maintenance_output.shown("") == []
