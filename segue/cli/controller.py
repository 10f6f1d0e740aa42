"""`segue controller`: makes a controller's folder, and runs a controller in the foreground, as its service does."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import output

app = typer.Typer(help="The fleet's controller: init, run.", no_args_is_help=True, add_completion=False)
Dir = Annotated[Path, typer.Option(help="Its folder.")]
FOLDER = Path("/etc/segue/controller")
PORT = 7440


@app.command()
def init(
    dir: Dir = FOLDER,
    address: Annotated[
        list[str] | None,
        typer.Option(help="A name or address of this machine, for its certificate. Several."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="A CA that there is already, for one more controller.")
    ] = None,
    ca_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
) -> None:
    """Make the fleet's CA, this controller's certificate and the first admin's. Nothing is ever overwritten.

    Example: segue controller init --address 192.0.2.10
    """
    from segue.controller import folder as files
    from segue.errors import Kind, Refused

    if (ca is None) != (ca_key is None):
        raise Refused(
            what="nothing was made",
            why="--ca and --ca-key belong together",
            todo="Give both, or none.",
            kind=Kind.USAGE,
        )
    made = files.Folder(dir)
    files.init(made, address or [], (ca, ca_key) if ca and ca_key else None)
    output.say(f"Made {dir}. Keep ca.key safe: whoever has it can be any host of the fleet.")
    output.say(
        f"An admin's context file has: [controller] urls = [...], and [tls] with {made.admin.certificate}."
    )


@app.command()
def run(
    dir: Dir = FOLDER,
    store: Annotated[
        str,
        typer.Option(help="sqlite:///FILE, or etcd://HOST,HOST,HOST where there are several controllers."),
    ] = "sqlite:////var/lib/segue/controller.db",
    address: Annotated[str, typer.Option(help="Where it listens.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Of the API and of the agents' connections.")] = PORT,
    name: Annotated[str, typer.Option(help="Its name among the controllers; empty: the machine's.")] = "",
    evacuate_failing: Annotated[
        int,
        typer.Option(
            min=0, help="Hosts with failing hardware that it empties at once by itself; 0: people do."
        ),
    ] = 0,
) -> None:
    """Run a controller: it leads the fleet, or waits to. It ends without touching a guest.

    Example: segue controller run --store sqlite:////var/lib/segue/controller.db
    """
    import asyncio

    from segue.cli import logs
    from segue.controller.folder import Folder
    from segue.controller.main import Settings, serve

    logs.configure()
    settings = Settings(
        Folder(dir), store, address, port, name or platform.node(), evacuate_failing=evacuate_failing
    )
    asyncio.run(serve(settings))
