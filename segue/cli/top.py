"""`segue top`: what hosts and guests use, as it changes. It only looks."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live

from segue.cli import fleet, output, values
from segue.cli.output import Format, Output

app = typer.Typer(add_completion=False)
HOSTS: Final = (
    "HOST",
    "CPU",
    "WAITING",
    "MEMORY",
    "PRESSURE CPU MEM IO",
    "NETWORK IN OUT",
    "DISK R W",
    "GUESTS",
)
GUESTS: Final = ("GUEST", "HOST", "CPU", "WAITING", "HELD", "NETWORK IN OUT", "DISK R W")
Every = Annotated[str, typer.Option(help="How often it looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once, and end; so it is where nobody watches.")]


@app.command()
def top(
    every: Every = "2s",
    guests: Annotated[int, typer.Option(min=0, help="So many guests, the busiest first.")] = 20,
    once: Once = False,
    form: Output = Format.TABLE,
) -> None:
    """Show what hosts and guests use: processors, memory, pressure, network, disks. Ctrl-C ends it.

    CPU is in processors, over about the last minute; WAITING is what vCPUs would have used besides.

    Examples:

        segue top

        segue top --once -o json
    """
    known, pause_s = fleet.load(), values.duration_s(every)
    if form is not Format.TABLE:
        output.show(_look(known), form)
    elif once or not sys.stdout.isatty():
        for table in _tables(_look(known), guests):
            output.show_table(table)
    else:
        _live(known, pause_s, guests)


def _live(known: fleet.Fleet, pause_s: float, guests: int) -> None:
    try:
        with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*_tables(_look(known), guests)), refresh=True)
                time.sleep(pause_s)
    except KeyboardInterrupt:
        return


def _look(known: fleet.Fleet) -> list[dict[str, Any]]:
    """The controller that leads is told everything; without one each agent is asked."""
    if known.controller is not None:
        return known.controller.all("/load")
    answers, errors = known.ask_all("/load")
    for name, error in sorted(errors.items()):
        output.say(f"not asked: {name}: {error.why}")
    return [answers[name] for name in sorted(answers) if answers[name]]


def _tables(hosts: list[dict[str, Any]], most: int) -> tuple[Any, Any]:
    every = [(host["name"], guest) for host in hosts for guest in host["guests"]]
    every.sort(key=lambda item: (-_wanted(item[1]), item[1]["name"]))
    rows = [_guest_row(host, guest) for host, guest in every[:most]]
    return output.table([_host_row(host) for host in hosts], HOSTS), output.table(rows, GUESTS)


def _wanted(guest: dict[str, Any]) -> float:
    use = guest["use"]["now"]
    return float(use["cpu_cores"] + use["waiting_cores"])


def _host_row(host: dict[str, Any]) -> tuple[str, ...]:
    use, pressure = host["use"]["now"], host["pressure"]
    used = host["memory_total_bytes"] - host["memory_available_bytes"]
    waiting = sum(guest["use"]["now"]["waiting_cores"] for guest in host["guests"])
    felt = (
        " ".join(f"{pressure[what]:.0%}" for what in ("cpu", "memory", "io")) if pressure else "not measured"
    )
    return (
        host["name"],
        f"{use['cpu_cores']:.2f} of {host['cpus']}",
        f"{waiting:.2f}",
        f"{values.show_bytes(used)} of {values.show_bytes(host['memory_total_bytes'])}",
        felt,
        *_flows(use),
        str(len(host["guests"])),
    )


def _guest_row(host: str, guest: dict[str, Any]) -> tuple[str, ...]:
    use = guest["use"]["now"]
    processors = (f"{use['cpu_cores']:.2f}", f"{use['waiting_cores']:.2f}")
    return guest["name"], host, *processors, values.show_bytes(guest["held_bytes"]), *_flows(use)


def _flows(use: dict[str, float]) -> tuple[str, str]:
    def pair(one: str, other: str) -> str:
        return f"{values.show_bytes(use[one])}/s {values.show_bytes(use[other])}/s"

    return pair("received_bytes_per_s", "sent_bytes_per_s"), pair("read_bytes_per_s", "written_bytes_per_s")
