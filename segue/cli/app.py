"""`segue app`: applications in containers: run, show, logs, exec, start, stop, delete, images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.cli import app_follow, app_image, fleet, output, place, values
from segue.cli import app_options as options
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Applications in OCI containers: run, list, show, logs, exec, start, stop, delete, images.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The application's name.")]
COLUMNS = ("NAME", "HOST", "STATE", "IMAGE", "MEMORY", "CPUS", "ADDRESS", "NOTE")
app.command("images")(app_image.images)
app.command("load")(app_image.load)
app.command("pull")(app_image.pull)
app.command("prune")(app_image.prune)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    image: options.Image = "",
    command: options.Command = None,
    name: options.Named = "",
    host: options.Where = "",
    archive: options.Archive = None,
    bundle: options.Bundle = None,
    address: options.Address = "",
    network: options.Network = "",
    nic: options.Nics = None,
    gateway: options.Gateway = "",
    memory: options.Memory = "256MiB",
    cpus: options.Cpus = 0,
    env: options.Env = None,
    volume: options.Volumes = None,
    read_only: options.ReadOnly = False,
    restart: options.Restart = "no",
    user: options.User = "",
    start: options.Start = True,
    label: options.Labels = None,
    form: Output = Format.TABLE,
) -> None:
    """Run an application from an image, in a container with an address of its own.

    Options come before IMAGE: what follows it is the application's.

    Examples:

        segue app run --name cache1 --host host1 --address 10.77.100.1/16 docker.io/library/redis:8

        segue app run --name web1 --label app=web docker.io/library/nginx:1.29

        segue app run --archive redis.tar --name cache1 --host host1 --memory 512MiB --volume /data

        segue app run --name job1 --host host1 --restart on-failure -e LEVEL=3 --user 1000:1000 alpine:3 sleep 1000
    """
    wish = {
        "name": name or options.name_of(image, archive or bundle),
        **options.cards(nic, network, address),
        "gateway": gateway,
        "memory_bytes": values.size_bytes(memory),
        "cpus": cpus,
        "env": list(env or ()),
        "user": user,
        **options.files(volume, read_only=read_only),
        "restart": values.choice(restart, options.RESTARTS),
        "start": start,
    }
    worn = values.labels(label or ())
    _show([_begin(host, wish, worn, image, command or [], archive, bundle)], form, one=True)


def _begin(
    host: str,
    wish: dict[str, Any],
    worn: dict[str, str],
    image: str,
    args: list[str],
    archive: Path | None,
    bundle: Path | None,
) -> dict[str, Any]:
    known = fleet.load()
    if not host:
        options.demand_image(image, archive or bundle)
        wish = {**wish, "image": image, "args": args, "labels": worn}
        return place.by_controller(known, "/apps", wish, "run")
    where = known.host(host)
    place.name_it(known, wish["name"], worn)
    if archive is not None or bundle is not None:
        # There is no IMAGE then, so what stands in its place is the command's first word.
        args = [image, *args] if image else args
        image = app_image.send(where, archive, bundle)
    elif not image:
        raise options.usage(
            "nothing is run", "no image was named", "Name one, or give --archive or --bundle."
        )
    made: dict[str, Any] = where.call(
        "POST", "/apps", {**wish, "image": image, "args": args}, within_s=app_image.PULL_S
    )
    return made


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show every application of every host.

    Example: segue app list -o json
    """
    guests, errors = fleet.load().every_guest()
    _show([guest for guest in guests if guest["spec"].get("app")], form)
    fleet.say_missing(guests, errors)


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
    since: Annotated[str, typer.Option(help="Only what was written in so long a time, such as 10m.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Print what an application wrote on the host where it runs: time, stream, F (a line) or P (a part of one), text.

    Examples:

        segue app logs cache1 --tail 20

        segue app logs cache1 --since 10m --follow
    """
    last_s = values.duration_s(since) if since else 0.0
    host, _ = _find(name)
    path = f"/guests/{name}/log?lines={lines}&last_s={last_s}"
    if follow:
        app_follow.pour(host, f"{path}&follow=true")
        return
    typer.echo(host.call("GET", path), nl=False)


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    name: Name,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE. Again for more.")] = None,
    user: Annotated[str, typer.Option(help="USER[:GROUP], numbers; empty: the application's own.")] = "",
    cwd: Annotated[str, typer.Option(help="The folder that it is started in.")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Give it what comes in here.")] = False,
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="With this terminal, for as long as it takes.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="It is ended after that, where it has no terminal.")] = "60s",
) -> None:
    """Run one more program in a running application's container, and end with its status.

    Examples:

        segue app exec cache1 redis-cli ping

        segue app exec -it cache1 sh
    """
    host, _ = _find(name)
    within_s = values.duration_s(timeout)
    wish = {
        "args": command, "env": list(env or ()), "user": user, "cwd": cwd, "within_s": within_s,
        "input": sys.stdin.read() if stdin and not tty else "",
    }  # fmt: skip
    if tty:
        from segue.cli import app_terminal

        status = app_terminal.run(host, name, wish)
        raise typer.Exit(status if status >= 0 else 128 - status)
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
    _show([place.start(fleet.load(), host, name, within_s=90)], form, one=True)


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
        raise options.usage(
            f"{name} is no application", "it is a virtual machine", "`segue vm` is for machines."
        )
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
