"""`segue vm`: guests as machines: make, show, start, stop, delete, console, recover."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import fleet, nics, output, place, update, values, vm_crash, vm_wishes
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Virtual machines: create, list, show, start, stop, update, delete, console, recover.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The guest's name.")]
Where = Annotated[str, typer.Option(help="Where it starts; with a controller none: where it fits best.")]
Disks = Annotated[
    list[str] | None,
    typer.Option(help="One more disk, as size=1GiB,format=qcow2,storage=local. May be given several times."),
]
Labels = Annotated[
    list[str] | None, typer.Option(help="With a controller: a label for rules, as app=web. Again for more.")
]
Address = Annotated[str, typer.Option(help="The guest's address with prefix, such as 10.77.100.1/16.")]
Cpu = Annotated[str, typer.Option(help="QEMU CPU model; empty: one that every host has.")]
Cmdline = Annotated[str, typer.Option(help="Added to the kernel's command line.")]
StorageOption = Annotated[
    str, typer.Option(help="Where the image's disk lies: shared, or local to the host.")
]
app.command("label")(vm_wishes.label)
app.command("wish")(vm_wishes.wish)
app.command("update")(update.update)
app.command("on-crash")(vm_crash.on_crash)
COLUMNS = ("NAME", "HOST", "STATE", "MEMORY", "VCPUS", "ADDRESS", "NOTE")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, hyphens.")],
    host: Where = "",
    image: Annotated[str, typer.Option(help="An image of that host's image store.")] = "micro",
    memory: Annotated[str, typer.Option(help="Such as 256MiB or 4GiB.")] = "256MiB",
    vcpus: Annotated[int, typer.Option(min=1, max=255, help="Virtual processors.")] = 1,
    cpu: Cpu = "",
    address: Address = "",
    nic: Annotated[list[str] | None, typer.Option("--nic", help=nics.HELP)] = None,
    cmdline: Cmdline = "",
    storage: StorageOption = "shared",
    disk: Disks = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    label: Labels = None,
    on_crash: vm_crash.OnCrashOption = "",
    restarts_per_hour: vm_crash.PerHour = vm_crash.MOST,
    watch: vm_crash.Watch = True,
    form: Output = Format.TABLE,
) -> None:
    """Create a guest, and start it.

    Examples:

        segue vm create web1 --host host1 --image micro --memory 256MiB --address 10.77.100.1/16

        segue vm create gw1 --host host1 --nic address=10.77.100.2/16 --nic network=blue,address=10.9.0.2/24

        segue vm create web2 --on-crash panic=leave --restarts-per-hour 2

        segue vm create db1 --host host1 --image debian --storage local --disk size=4GiB,format=raw,storage=local
    """
    wish = {
        "name": name,
        "image": image,
        "memory_bytes": values.size_bytes(memory),
        "vcpus": vcpus,
        "cpu_model": cpu,
        "address": address,
        "cmdline": cmdline,
        "start": start,
        "nics": [nics.wish(one) for one in nic or ()],
        "storage": values.choice(storage, ("shared", "local")),
        "disks": [values.disk(text) for text in disk or ()],
        "watch": watch,
        "on_crash": vm_crash.policy(on_crash, restarts_per_hour),
    }
    _create(wish, host, values.labels(label or ()), form)


def _create(wish: dict[str, Any], host: str, worn: dict[str, str], form: Format) -> None:
    known, name = fleet.load(), str(wish["name"])
    if not host:
        made = place.by_controller(known, "/guests", {**wish, "labels": worn}, "created")
        _show([made], form, one=True)
        return
    place.name_it(known, name, worn)
    _show([known.host(host).call("POST", "/guests", wish)], form, one=True)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show every machine of every host; applications are in `segue app list`.

    Example: segue vm list -o json
    """
    guests, errors = fleet.load().every_guest()
    _show([guest for guest in guests if not guest["spec"].get("app")], form)
    fleet.say_missing(guests, errors)


@app.command()
def show(name: Name, form: Output = Format.YAML) -> None:
    """Show all that is known of one guest: where it is, who owns it, what it is made of.

    Example: segue vm show web1
    """
    guest = fleet.load().find(name)[1]
    _show([guest], form, one=True)


@app.command()
def start(name: Name, form: Output = Format.TABLE) -> None:
    """Start a stopped or crashed guest from its disk.

    Example: segue vm start web1
    """
    known = fleet.load()
    host, _ = known.find(name)
    _show([place.start(known, host, name)], form, one=True)


@app.command()
def stop(
    name: Name,
    timeout: Annotated[
        str, typer.Option(help="How long it may take to shut down; 0s ends it at once.")
    ] = "30s",
    form: Output = Format.TABLE,
) -> None:
    """Shut a guest down; one that does not in time is ended.

    Example: segue vm stop web1 --timeout 10s
    """
    host, _ = fleet.load().find(name)
    within_s = values.duration_s(timeout)
    answer = host.call("POST", f"/guests/{name}/stop", {"within_s": within_s}, within_s=within_s + 30)
    _show([answer], form, one=True)


@app.command()
def delete(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a stopped guest and its disks.

    Example: segue vm delete web1 --yes
    """
    host, guest = fleet.load().find(name)
    if not yes:
        typer.confirm(
            f"Delete {name} on {host.name} and its {len(guest['spec']['disks'])} disks?", abort=True
        )
    host.call("DELETE", f"/guests/{name}")
    output.say(f"{name} is deleted.")


@app.command()
def console(
    name: Name,
    log: Annotated[bool, typer.Option("--log", help="Print what it wrote so far, and end.")] = False,
) -> None:
    """Open a guest's serial console; Ctrl-] leaves it.

    Example: segue vm console web1 --log
    """
    host, _ = fleet.load().find(name)
    if log:
        typer.echo(host.call("GET", f"/guests/{name}/console"), nl=False)
        return
    from segue.cli import console as live

    live.attach(host, name)


@app.command()
def recover(
    name: Name,
    fenced: Annotated[str, typer.Option(help="The host that you know to be without power.")],
    host: Annotated[str, typer.Option(help="The host that takes the guest; needed when several could.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Take a guest back from a host that is lost. It restarts from its disk: `segue vm start`.

    Say this only of a host that is powered off: if it still runs, the guest would run twice.

    Example, after host2 was lost in a migration of web1: segue vm recover web1 --fenced host2
    """
    known = fleet.load()
    chosen = known.host(host) if host else known.find(name)[0]
    if not yes:
        typer.confirm(f"Is {fenced} really without power? {name} may otherwise run twice", abort=True)
    _show([chosen.call("POST", f"/guests/{name}/recover", {"fenced": fenced})], form, one=True)


def _show(guests: list[dict[str, Any]], form: Format, *, one: bool = False) -> None:
    output.show(guests[0] if one else guests, form, [_row(guest) for guest in guests], COLUMNS)


def _row(guest: dict[str, Any]) -> tuple[str, ...]:
    spec = guest["spec"]
    addresses = " ".join(nic["address"] or nic["address6"] or nic["mac"] for nic in spec["nics"])
    note = guest["reason"] or ("migrating" if guest["phase"] in {"offered", "released", "incoming"} else "")
    memory = values.show_bytes(spec["memory_bytes"])
    return guest["name"], guest["host"], guest["state"], memory, str(spec["vcpus"]), addresses, note
