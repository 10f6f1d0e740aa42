"""`segue app`: applications in containers: run, show, logs, exec, start, stop, delete, images."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.cli import app_image, fleet, nics, output, values, vm
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

app = typer.Typer(
    help="Applications in OCI containers: run, list, show, logs, exec, start, stop, delete, images.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The application's name.")]
COLUMNS = ("NAME", "HOST", "STATE", "IMAGE", "MEMORY", "CPUS", "ADDRESS", "NOTE")
RESTARTS = ("no", "on-failure", "always")
app.command("images")(app_image.images)
app.command("load")(app_image.load)
app.command("pull")(app_image.pull)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    image: Annotated[
        str, typer.Argument(help="What the image is called, in its registry or on the host.")
    ] = "",
    command: Annotated[
        list[str] | None, typer.Argument(help="Given to the image's entry point in place of its own.")
    ] = None,
    name: Annotated[str, typer.Option(help="Its name: small letters, digits, hyphens.")] = "",
    host: Annotated[str, typer.Option(help="Where it runs.")] = "",
    archive: Annotated[
        Path | None,
        typer.Option(help="A file of `docker save`, `podman save` or `skopeo copy`, in place of IMAGE."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="A folder with an OCI bundle (config.json, rootfs), in place of IMAGE."),
    ] = None,
    address: Annotated[str, typer.Option(help="Its address with prefix, such as 10.77.100.1/16.")] = "",
    network: Annotated[str, typer.Option(help="The network that it is on; empty: the host's bridge.")] = "",
    nic: Annotated[list[str] | None, typer.Option("--nic", help=nics.HELP)] = None,
    gateway: Annotated[
        str, typer.Option(help="Where its packets go that are for no network of its own.")
    ] = "",
    memory: Annotated[str, typer.Option(help="All that it may use, such as 256MiB or 4GiB.")] = "256MiB",
    cpus: Annotated[
        float, typer.Option(min=0, help="Processors that it may use; 0: as many as there are.")
    ] = 0,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE. Again for more.")] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            help="PATH: a folder of its own, or SOURCE:PATH[:ro]: one of every host's. Again for more."
        ),
    ] = None,
    restart: Annotated[str, typer.Option(help=f"When it ends by itself: {', '.join(RESTARTS)}.")] = "no",
    user: Annotated[str, typer.Option(help="USER[:GROUP], names or numbers; empty: as the image says.")] = "",
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    form: Output = Format.TABLE,
) -> None:
    """Run an application from an image, in a container with an address of its own.

    Options come before IMAGE: what follows it is the application's.

    Examples:

        segue app run --name cache1 --host host1 --address 10.77.100.1/16 docker.io/library/redis:8

        segue app run --archive redis.tar --name cache1 --host host1 --memory 512MiB --volume /data

        segue app run --name job1 --host host1 --restart on-failure -e LEVEL=3 --user 1000:1000 alpine:3 sleep 1000
    """
    known = fleet.load()
    where = known.host(_demand_host(host))
    name = name or _name_of(image, archive or bundle)
    vm.demand_free(known, name)
    args = list(command or ())
    if archive is not None or bundle is not None:
        # There is no IMAGE then, so what stands in its place is the command's first word.
        args = [image, *args] if image else args
        image = app_image.send(where, archive, bundle)
    elif not image:
        raise _usage("nothing is run", "no image was named", "Name one, or give --archive or --bundle.")
    wish = {
        "name": name, "image": image, "args": args, "address": address if not network else "", "gateway": gateway,
        "nics": _cards(nic, network, address), "memory_bytes": values.size_bytes(memory), "cpus": cpus,
        "env": list(env or ()), "user": user, "volumes": [_volume(one) for one in volume or ()],
        "restart": values.choice(restart, RESTARTS), "start": start,
    }  # fmt: skip
    _show([where.call("POST", "/apps", wish, within_s=app_image.PULL_S)], form, one=True)


def _demand_host(host: str) -> str:
    if not host:
        raise _usage("nothing is run", "no host was named", "Name one with --host.")
    return host


def _usage(what: str, why: str, todo: str) -> Refused:
    return Refused(what=what, why=why, todo=todo, kind=Kind.USAGE)


def _name_of(image: str, path: Path | None) -> str:
    """What the image is called, without registry and tag."""
    last = (
        path.name.split(".")[0] if path is not None else image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    )
    return re.sub("[^a-z0-9]+", "-", last.lower()).strip("-")


def _cards(nic: Iterable[str] | None, network: str, address: str) -> list[dict[str, Any]]:
    cards = [nics.wish(one) for one in nic or ()]
    if network and cards:
        raise _usage(
            "nothing is run", "--network and --nic are both given", "Name the network with --nic network=."
        )
    if not network:
        return cards
    text = f"network={network}" + (f",address={address}" if address else "")
    return [nics.wish(text)]


def _volume(text: str) -> dict[str, Any]:
    """`/data`, `/srv/data:/data` or `/srv/data:/data:ro`."""
    parts = text.split(":")
    read_only = len(parts) > 1 and parts[-1] in {"ro", "rw"} and parts.pop() == "ro"
    if len(parts) not in {1, 2} or not all(parts):
        raise _usage(f"'{text}' was not understood", "it is no volume", "Write PATH, or SOURCE:PATH[:ro].")
    return {"path": parts[-1], "source": parts[0] if len(parts) == 2 else "", "read_only": read_only}


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show every application of every host.

    Example: segue app list -o json
    """
    known = fleet.load()
    guests, errors = (known.controller.all("/guests"), {}) if known.controller is not None else known.guests()
    _show([guest for guest in guests if guest["spec"].get("app")], form)
    for host, error in sorted(errors.items()):
        output.say(f"not asked: {host}: {error.why}")
    if errors and not guests:
        raise typer.Exit(8)


@app.command()
def show(name: Name, form: Output = Format.YAML) -> None:
    """Show all that is known of one application: where it is, who owns it, what it is made of.

    Example: segue app show cache1
    """
    _show([_find(name)[1]], form, one=True)


@app.command()
def logs(
    name: Name,
    lines: Annotated[
        int, typer.Option("--tail", min=1, max=100_000, help="Only so many of the last.")
    ] = 1000,
) -> None:
    """Print what an application wrote on the host where it runs: time, stream, F (a line) or P (a part of one), text.

    Example: segue app logs cache1 --tail 20
    """
    host, _ = _find(name)
    typer.echo(host.call("GET", f"/guests/{name}/log?lines={lines}"), nl=False)


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    name: Name,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE. Again for more.")] = None,
    user: Annotated[str, typer.Option(help="USER[:GROUP], numbers; empty: the application's own.")] = "",
    cwd: Annotated[str, typer.Option(help="The folder that it is started in.")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Give it what comes in here.")] = False,
    timeout: Annotated[str, typer.Option(help="It is ended after that.")] = "60s",
) -> None:
    """Run one more program in a running application's container, and end with its status.

    Example: segue app exec cache1 redis-cli ping
    """
    host, _ = _find(name)
    within_s = values.duration_s(timeout)
    wish = {
        "args": command, "env": list(env or ()), "user": user, "cwd": cwd, "within_s": within_s,
        "input": sys.stdin.read() if stdin else "",
    }  # fmt: skip
    done = host.call("POST", f"/guests/{name}/exec", wish, within_s=within_s + 10)
    typer.echo(done["stdout"], nl=False)
    typer.echo(done["stderr"], nl=False, err=True)
    raise typer.Exit(done["status"] if done["status"] >= 0 else 128 - done["status"])


@app.command()
def start(name: Name, form: Output = Format.TABLE) -> None:
    """Start a stopped or ended application from its files.

    Example: segue app start cache1
    """
    host, _ = _find(name)
    _show([host.call("POST", f"/guests/{name}/start", within_s=90)], form, one=True)


@app.command()
def stop(
    name: Name,
    timeout: Annotated[str, typer.Option(help="How long it may take to end; 0s ends it at once.")] = "10s",
    form: Output = Format.TABLE,
) -> None:
    """Ask an application to end; one that does not in time is ended.

    Example: segue app stop cache1 --timeout 30s
    """
    host, _ = _find(name)
    within_s = values.duration_s(timeout)
    answer = host.call("POST", f"/guests/{name}/stop", {"within_s": within_s}, within_s=within_s + 30)
    _show([answer], form, one=True)


@app.command()
def delete(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a stopped application, and all that it wrote.

    Example: segue app delete cache1 --yes
    """
    host, _ = _find(name)
    if not yes:
        typer.confirm(f"Delete {name} on {host.name} and all that it wrote?", abort=True)
    host.call("DELETE", f"/guests/{name}")
    output.say(f"{name} is deleted.")


def _find(name: str) -> tuple[fleet.Host, dict[str, Any]]:
    host, guest = fleet.load().find(name)
    if not guest["spec"].get("app"):
        raise _usage(f"{name} is no application", "it is a virtual machine", "`segue vm` is for machines.")
    return host, guest


def _show(guests: list[dict[str, Any]], form: Format, *, one: bool = False) -> None:
    output.show(guests[0] if one else guests, form, [_row(guest) for guest in guests], COLUMNS)


def _row(guest: dict[str, Any]) -> tuple[str, ...]:
    spec = guest["spec"]
    found = spec["app"]
    addresses = " ".join(nic["address"] or nic["address6"] or nic["mac"] for nic in spec["nics"])
    note = guest["reason"] or ("migrating" if guest["phase"] in {"offered", "released", "incoming"} else "")
    memory, cpus = values.show_bytes(spec["memory_bytes"]), f"{found['cpus']:g}" if found["cpus"] else "all"
    return guest["name"], guest["host"], guest["state"], found["reference"], memory, cpus, addresses, note
