"""`segue lab`: several hosts on one machine, to try things on; shows and asks, the work is done elsewhere."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

if TYPE_CHECKING:
    from segue.lab.api import Lab
    from segue.lab.status import LabStatus, MachineStatus

app = typer.Typer(
    help="Make hosts out of this one machine: build them, cut their links, switch their power off.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Option("--name", envvar="SEGUE_LAB_NAME", help="Which lab.")]
Machine = Annotated[str, typer.Argument(metavar="HOST", help="host1, client1, controller1, etcd1 and so on.")]
DEFAULT = "lab"
COLUMNS = ("machine", "state", "address", "pid", "service", "link", "cut by")


class Output(StrEnum):
    """How `status` shows what it saw."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Bmc = Annotated[
    bool, typer.Option("--bmc", help="Give every host a BMC that speaks Redfish; controllers know it.")
]
Lease = Annotated[
    float, typer.Option(min=0, help="Seconds: hosts have watchdogs, and guests run by such a lease.")
]


@app.command()
def up(
    *,
    hosts: Annotated[int, typer.Option(min=1, help="How many hosts.")] = 3,
    clients: Annotated[int, typer.Option(min=0, help="How many clients.")] = 1,
    controllers: Annotated[int, typer.Option(min=0, help="How many controllers; several need --etcd.")] = 0,
    etcd: Annotated[int, typer.Option(min=0, help="How many etcd members hold their store: 1, 3 or 5.")] = 0,
    images: Annotated[str, typer.Option(help="Guest images to have ready, by comma.")] = "micro",
    renew: Annotated[
        bool, typer.Option(help="Restart machines that run an older segue, and lose guests.")
    ] = False,
    agent: Annotated[
        list[str] | None,
        typer.Option(help="HOST=FOLDER: its agent is the segue of that checkout; HOST=usual ends it."),
    ] = None,
    qemu: Annotated[
        list[str] | None,
        typer.Option(help="HOST=newest: it has the newest QEMU that Debian offers; HOST=usual ends it."),
    ] = None,
    bmc: Bmc = False,
    lease: Lease = 0.0,
    wait: Annotated[bool, typer.Option(help="Return only when the agents answer.")] = True,
    name: Name = DEFAULT,
) -> None:
    """Make the lab, or add what is missing.

    Examples:

        segue lab up --hosts 2 --images micro,debian

        segue lab up --hosts 4 --controllers 3 --etcd 3

        segue lab up --hosts 3 --controllers 1 --bmc

        segue lab up --hosts 3 --controllers 1 --lease 8

        segue lab up --qemu host2=newest --agent host3=../segue-0.1
    """
    from segue.lab import variants

    chosen = variants.parse(agent or [], qemu or [])
    with Console(stderr=True).status("looking at what is there") as status:
        lab = _lab(name, status)
        lab.up(
            hosts, clients, list(filter(None, images.split(","))), controllers=controllers, etcd=etcd,
            renew=renew, variants=chosen, bmc=bmc, lease_s=lease,
        )  # fmt: skip
        if wait:
            status.update("waiting for the agents")
            lab.wait_for_services()
    _tell_what_to_try(name, fleet=bool(controllers))


@app.command()
def down(name: Name = DEFAULT) -> None:
    """Take the lab away; nothing stays but the cache.

    Example: segue lab down
    """
    with Console(stderr=True).status(f"taking the lab {name} away"):
        existed = _lab(name).down()
    _tell(f"The lab {name} is gone." if existed else f"There is no lab {name}.")


@app.command()
def status(
    name: Name = DEFAULT,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to show it.")] = Output.TABLE,
) -> None:
    """Show every machine, cut and link rate.

    Example: segue lab status -o json
    """
    seen = _lab(name).status()
    if output is Output.TABLE:
        _show(seen)
    elif output is Output.JSON:
        print(json.dumps(asdict(seen), indent=2))
    else:
        import yaml

        yaml.safe_dump(asdict(seen), sys.stdout, sort_keys=False)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def exec(
    host: Machine,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after `--`.")],
    name: Name = DEFAULT,
) -> None:
    """Run a program in a machine of the lab; it gets this terminal, and its exit code is ours.

    Example: segue lab exec client1 -- segue migrate web1 --to host2 --probe udp:7000
    """
    # The parser stops at HOST and hands the separator on.
    argv = command[1:] if command[0] == "--" else command
    entering, environ = _lab(name).command(host, argv)
    os.execvpe(entering[0], entering, environ)


@app.command()
def cut(
    what: Annotated[str, typer.Argument(metavar="HOST|A--B", help="One machine, or two with `--` between.")],
    name: Name = DEFAULT,
) -> None:
    """Make a black hole: frames vanish on the way while every cable keeps its carrier.

    Example: segue lab cut host1--host2
    """
    _lab(name).cut(what)
    _tell(f"Cut: {what}.")


@app.command()
def mend(
    what: Annotated[str | None, typer.Argument(metavar="[HOST|A--B]", help="All cuts if left out.")] = None,
    name: Name = DEFAULT,
) -> None:
    """Take cuts away; that of a machine takes every cut away that touches it.

    Example: segue lab mend host1--host2
    """
    _lab(name).mend(what)
    _tell(f"Mended: {what or 'everything'}.")


@app.command()
def upgrade(
    host: Machine,
    qemu: Annotated[
        str, typer.Option(help="newest: the newest that Debian offers; debian: Debian 13's own.")
    ] = "newest",
    name: Name = DEFAULT,
) -> None:
    """Install another QEMU on a host that runs, as a package manager would; its guests go on in their old one.

    Example: segue lab upgrade host2
    """
    with Console(stderr=True).status(f"installing QEMU on {host}") as status:
        changed = _lab(name, status).upgrade(host, qemu)
    _tell(f"{host}: {len(changed)} packages changed." if changed else f"{host} has that QEMU already.")


@app.command()
def kill(host: Machine, name: Name = DEFAULT) -> None:
    """Take a machine's power away: all its processes end at once, its disk stays.

    Example: segue lab kill host2
    """
    _lab(name).kill(host)
    _tell(f"{host} is off.")


@app.command()
def start(host: Machine, name: Name = DEFAULT) -> None:
    """Switch a machine on again.

    Example: segue lab start host2
    """
    with Console(stderr=True).status(f"starting {host}") as status:
        _lab(name, status).start(host)
    _tell(f"{host} is on.")


@app.command()
def link(
    rate: Annotated[str, typer.Option(help="For example 1gbit or 100mbit; none takes the limit away.")],
    host: Annotated[str | None, typer.Argument(metavar="[HOST]", help="All machines if left out.")] = None,
    name: Name = DEFAULT,
) -> None:
    """Limit the speed of links, each way.

    Example: segue lab link --rate 1gbit
    """
    from segue.lab import rates

    _lab(name).set_rate(rates.parse(rate), host)
    _tell(f"Link of {host or 'every machine'}: {rate}.")


def _lab(name: str, status: Status | None = None) -> Lab:
    from segue.lab.api import Lab

    return Lab(name) if status is None else Lab(name, on_progress=status.update)


def _tell_what_to_try(name: str, *, fleet: bool) -> None:
    chosen = "" if name == DEFAULT else f" --name {name}"
    _tell(f"The lab {name} is up. Try:")
    first = "exec{} client1 -- segue status" if fleet else "exec{} client1 -- ping -c 3 host1"
    for example in (first, "status{}", "cut{} host1--host2", "down{}"):
        _tell(f"  segue lab {example.format(chosen)}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _show(seen: LabStatus) -> None:
    table = Table(*COLUMNS, title=f"lab {seen.name} in {seen.folder}", title_justify="left")
    for machine in seen.machines:
        table.add_row(*_row(machine))
    console = Console()
    console.print(table)
    for cut in seen.cuts:
        console.print(
            f"cut {cut.what}: {cut.frames} frames vanished since a cut was last changed", highlight=False
        )
    if older := [machine.name for machine in seen.machines if machine.code == "older"]:
        console.print(
            f"older segue on {', '.join(older)}; `segue lab up --renew` restarts them", highlight=False
        )


def _row(machine: MachineStatus) -> list[str]:
    from segue.lab import rates

    colour = {"running": "green", "off": "yellow"}.get(machine.state, "red")
    return [
        machine.name,
        f"[{colour}]{machine.state}[/]",
        machine.address,
        str(machine.pid or ""),
        machine.agent,
        rates.show(machine.rate_bits_per_s),
        ", ".join(machine.cuts),
    ]
