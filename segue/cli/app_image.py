"""`segue app images|load|pull|prune`: the images that hosts have for applications, and how they get there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import httpx2
import typer

from segue.cli import answers, fleet, output, values
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

PULL_S = 1800.0
"""A large image over a slow line, and its unpacking."""
PART_BYTES = 1 << 20
COLUMNS = ("HOST", "NAME", "DIGEST", "SIZE")
Where = Annotated[list[str] | None, typer.Option("--host", help="Only there; again for more.")]


def images(host: Where = None, form: Output = Format.TABLE) -> None:
    """Show what applications can be made of on each host, without asking a registry.

    Example: segue app images --host host1
    """
    known = fleet.load()
    found = {name: known.host(name).call("GET", "/apps/images") for name in host or sorted(known.hosts)}
    rows = [_row(name, one) for name, every in found.items() for one in every]
    output.show(found, form, rows, COLUMNS)


def prune(
    host: Where = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Take away every image of which no application of that host is made; without --host on all hosts.

    Example: segue app prune --host host1 --yes
    """
    known = fleet.load()
    where = host or sorted(known.hosts)
    if not yes:
        typer.confirm(f"Take unused images away on {', '.join(where)}?", abort=True)
    found = {name: known.host(name).call("DELETE", "/apps/images", within_s=PULL_S) for name in where}
    rows = [_row(name, one) for name, every in found.items() for one in every]
    output.show(found, form, rows, COLUMNS)


def load(
    file: Annotated[Path, typer.Argument(help="A file of `docker save`, `podman save` or `skopeo copy`.")],
    host: Where = None,
    name: Annotated[str, typer.Option(help="What it is called from now on; empty: as the file is.")] = "",
) -> None:
    """Give an image from a file to hosts; without --host to all.

    Example: segue app load redis.tar --name redis --host host1 --host host2
    """
    known = fleet.load()
    for where in host or sorted(known.hosts):
        output.say(f"{where}: {name or file.name} is {send(known.host(where), file, None, name)}")


def pull(
    image: Annotated[str, typer.Argument(help="Such as docker.io/library/redis:8.")], host: Where = None
) -> None:
    """Have hosts take an image from its registry; without --host all. One that they have is asked for anew.

    Example: segue app pull docker.io/library/redis:8 --host host1
    """
    known = fleet.load()
    for where in host or sorted(known.hosts):
        query = str(httpx2.QueryParams({"reference": image, "pull": "true"}))
        found = known.host(where).call("POST", f"/apps/images?{query}", within_s=PULL_S)
        output.say(f"{where}: {image} is {found['digest']}")


def send(host: fleet.Host, archive: Path | None, bundle: Path | None, name: str = "") -> str:
    """Gives the image to the host; its digest. Raises Refused."""
    path = archive or bundle
    assert path is not None
    query = str(httpx2.QueryParams({"reference": name or _named(path)}))
    with _opened(path) as file:
        try:
            with host.client(PULL_S) as client:
                answer = client.request("POST", f"/apps/images?{query}", content=_parts(file))
        except httpx2.HTTPError as error:
            raise host.unreachable(error) from error
    return str(answers.read(answer, host.name)["digest"])


def _named(path: Path) -> str:
    return (
        "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in path.name).strip("-.")
        or "image"
    )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A folder, which is an OCI layout or a bundle, goes as a tar file."""
    if not path.exists():
        raise Refused(
            what=f"{path} is not sent", why="it is not there", todo="Correct the path.", kind=Kind.NOT_FOUND
        )
    if path.is_file():
        with path.open("rb") as file:
            yield file
        return
    command = ["tar", "--create", "--numeric-owner", "--directory", str(path), *sorted(os.listdir(path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(PART_BYTES):
        yield part


def _row(host: str, image: dict[str, Any]) -> tuple[str, ...]:
    return host, " ".join(image["references"]), image["digest"][:19], values.show_bytes(image["bytes"])
