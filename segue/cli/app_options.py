"""The options of `segue app run`, and what people write turned into what the API wants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from segue.cli import nics
from segue.errors import Kind, Refused

RESTARTS: Final = ("no", "on-failure", "always")
Image = Annotated[str, typer.Argument(help="What the image is called, in its registry or on the host.")]
Command = Annotated[
    list[str] | None, typer.Argument(help="Given to the image's entry point in place of its own.")
]
Named = Annotated[str, typer.Option(help="Its name: small letters, digits, hyphens; empty: as its image.")]
Where = Annotated[str, typer.Option(help="Where it runs; with a controller none: where it fits best.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="With a controller: a label for rules, as app=web. Again for more."),
]
Archive = Annotated[
    Path | None,
    typer.Option(help="A file of `docker save`, `podman save` or `skopeo copy`, in place of IMAGE."),
]
Bundle = Annotated[
    Path | None, typer.Option(help="A folder with an OCI bundle (config.json, rootfs), in place of IMAGE.")
]
Address = Annotated[str, typer.Option(help="Its address with prefix, such as 10.77.100.1/16.")]
Network = Annotated[str, typer.Option(help="The network that it is on; empty: the host's bridge.")]
Nics = Annotated[list[str] | None, typer.Option("--nic", help=nics.HELP)]
Gateway = Annotated[str, typer.Option(help="Where its packets go that are for no network of its own.")]
Memory = Annotated[str, typer.Option(help="All that it may use, such as 256MiB or 4GiB.")]
Cpus = Annotated[float, typer.Option(min=0, help="Processors that it may use; 0: as many as there are.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE. Again for more.")]
Volumes = Annotated[
    list[str] | None,
    typer.Option(
        "--volume",
        help="PATH: a folder of its own, or SOURCE:PATH[:ro]: one of every host's. Again for more.",
    ),
]
ReadOnly = Annotated[
    bool, typer.Option("--read-only", help="Its root file system is only read; volumes and /dev/shm are not.")
]
Restart = Annotated[str, typer.Option(help=f"When it ends by itself: {', '.join(RESTARTS)}.")]
User = Annotated[str, typer.Option(help="USER[:GROUP], names or numbers; empty: as the image says.")]
Start = Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")]


def name_of(image: str, path: Path | None) -> str:
    """What the image is called, without registry and tag."""
    if path is not None:
        last = path.name.partition(".")[0]
    else:
        last = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return re.sub("[^a-z0-9]+", "-", last.lower()).strip("-")


def demand_image(image: str, path: Path | None) -> None:
    """A host that nobody named cannot be sent a file. Raises Refused."""
    if path is not None:
        why, todo = (
            "a file goes to one host, and none was named",
            "Name it with --host, or `segue app load` it first.",
        )
        raise usage("nothing is run", why, todo)
    if not image:
        raise usage("nothing is run", "no image was named", "Name one, or give --host and a file.")


def cards(nic: Iterable[str] | None, network: str, address: str) -> dict[str, Any]:
    """The short form is for one card on the host's own bridge."""
    found = [nics.wish(one) for one in nic or ()]
    if network and found:
        raise usage("nothing is run", "--network and --nic are both given", "Write --nic network=NAME.")
    if network:
        text = f"network={network}" + (f",address={address}" if address else "")
        return {"nics": [nics.wish(text)]}
    return {"nics": found, "address": address}


def volume(text: str) -> dict[str, Any]:
    """`/data`, `/srv/data:/data` or `/srv/data:/data:ro`."""
    parts = text.split(":")
    read_only = len(parts) > 1 and parts[-1] in {"ro", "rw"} and parts.pop() == "ro"
    if len(parts) not in {1, 2} or not all(parts):
        raise usage(f"'{text}' was not understood", "it is no volume", "Write PATH, or SOURCE:PATH[:ro].")
    return {"path": parts[-1], "source": parts[0] if len(parts) == 2 else "", "read_only": read_only}


def files(volumes: list[str] | None, *, read_only: bool) -> dict[str, Any]:
    """What it may write. Raises Refused."""
    return {"volumes": [volume(one) for one in volumes or ()], "read_only": read_only}


def usage(what: str, why: str, todo: str) -> Refused:
    """What was typed cannot be meant."""
    return Refused(what=what, why=why, todo=todo, kind=Kind.USAGE)
