"""--json is there wherever --output is, and means the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from segue.cli import main
from segue.cli.output import Format, Output, offer_json

app = typer.Typer()


@app.command()
def printed(form: Output = Format.TABLE) -> None:
    typer.echo(form.value)


@app.command()
def silent() -> None:
    typer.echo("nothing")


@pytest.mark.parametrize(
    ("words", "environ", "form"),
    [
        ([], {}, "table"),
        (["--json"], {}, "json"),
        (["--json"], {"SEGUE_OUTPUT": "yaml"}, "json"),
        ([], {"SEGUE_OUTPUT": "yaml"}, "yaml"),
        (["-o", "yaml"], {}, "yaml"),
        (["--json", "-o", "yaml"], {}, "yaml"),
    ],
)
def test_what_is_printed(
    words: list[str],
    environ: dict[str, str],
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SEGUE_OUTPUT", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    command = get_command(app)
    offer_json(command)
    command.main(args=["printed", *words], standalone_mode=False)
    assert capsys.readouterr().out.strip() == form
    with pytest.raises(Exception, match="No such option: --json"):
        command.main(args=["silent", "--json"], standalone_mode=False)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "list_commands"):
        context = command.context_class(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_that_prints_data_has_it() -> None:
    found = {
        path: {opt for param in one.params for opt in param.opts}
        for path, one in leaves(get_command(main.app))
    }
    printing = [path for path, opts in found.items() if "--output" in opts]
    assert len(printing) > 40
    assert [path for path in printing if "--json" not in found[path]] == []
