"""`segue agent`: runs the agent of this host in the foreground, as its service does; `join` brings it to a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segue.cli import output
from segue.cli.logs import LogForm, Logs, configure

app = typer.Typer(add_completion=False, help="This host's agent: run it, or join a fleet.")
CONFIG = Path("/etc/segue/agent.toml")


@app.callback(invoke_without_command=True)
def agent(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The agent's configuration.")] = CONFIG,
    logs: Logs = LogForm.LOGFMT,
) -> None:
    """Run this host's agent: it owns the host's guests, and ends without touching them.

    Example: segue agent --config /etc/segue/agent.toml
    """
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from segue.agent import config as settings
    from segue.agent.main import serve

    read = settings.load(config)
    configure(logs, host=read.name)
    asyncio.run(serve(read))


@app.command()
def join(
    token: Annotated[str, typer.Argument(help="The line that `segue token create` printed.")],
    controller: Annotated[list[str], typer.Option(help="URL of a controller. May be given several times.")],
    name: Annotated[str, typer.Option(help="This host's name, where there is no agent.toml yet.")] = "",
    address: Annotated[str, typer.Option(help="Its address, where there is no agent.toml yet.")] = "",
    config: Annotated[Path, typer.Option(help="The agent's configuration.")] = CONFIG,
) -> None:
    """Join this host to a fleet; restart its agent afterwards. Guests go on.

    Example: segue agent join SGT1.eyJjYSI6 --controller https://192.0.2.10:7440
    """
    import platform

    from segue.agent import join as joining

    urls = tuple(url.rstrip("/") for url in controller)
    name = name or platform.node().partition(".")[0].lower()
    joined = joining.join(joining.Wish(token, urls, config, name, address))
    output.say(f"{joined} has joined. Restart its agent: its guests go on meanwhile.")
