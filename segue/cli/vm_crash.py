"""The part of `segue vm` about crashes: what is done when a guest ends or hangs against its will."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, output
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused
from segue.model.crash import Deed, OnCrash, Sort

HELP: Final = (
    "What is done when it crashes: restart, elsewhere, leave, or by sort, as panic=leave,hang=elsewhere."
)
Policy = Annotated[str, typer.Argument(help=HELP)]
PerHour = Annotated[
    int, typer.Option(min=0, max=100, help="So many restarts within an hour; then it is left to a person.")
]
OnCrashOption = Annotated[str, typer.Option(help=HELP)]
Watch = Annotated[
    bool, typer.Option("--watch/--no-watch", help="Give it a device that tells panics, and a watchdog.")
]
COLUMNS: Final = ("NAME", *(sort.upper() for sort in Sort), "RESTARTS PER HOUR")
# `restart` alone is no wish to restart guests that may only have lost their guest agent, nor to end any that runs.
MEANT: Final = {
    Deed.LEAVE: tuple(Sort),
    Deed.RESTART: (Sort.QEMU, Sort.PANIC, Sort.HANG, Sort.HOST),
    Deed.ELSEWHERE: (Sort.QEMU, Sort.PANIC, Sort.HANG),
}
MOST: Final = OnCrash().per_hour


def policy(text: str, per_hour: int) -> dict[str, Any]:
    """`restart`, `elsewhere`, `panic=leave,silence=restart`; what is not named stays as it comes. Raises Refused."""
    made: dict[str, Any] = {sort.value: getattr(OnCrash(), sort).value for sort in Sort}
    for part in filter(None, text.split(",")):
        sort, sign, deed = part.strip().rpartition("=")
        if deed not in set(Deed) or (sign and sort not in set(Sort)):
            raise Refused(
                what=f"'{part}' was not understood",
                why=f"it is neither {' nor '.join(Deed)}, nor one of them for {', '.join(Sort)}",
                todo="Write it as restart, elsewhere, leave, or panic=leave,hang=restart.",
                kind=Kind.USAGE,
            )
        made |= dict.fromkeys((sort,) if sign else MEANT[Deed(deed)], deed)
    return {**made, "per_hour": per_hour}


def on_crash(
    name: Annotated[str, typer.Argument(help="The guest's name.")],
    wanted: Policy,
    restarts_per_hour: PerHour = MOST,
    form: Output = Format.TABLE,
) -> None:
    """Change what is done when a guest crashes. It moves with the guest; `segue incident list` shows what was done.

    qemu: its QEMU ended. panic: its kernel panicked. hang: it does not feed the watchdog that it armed, or its QEMU
    answers nobody. silence: its guest agent, which once spoke, is silent, and the guest neither sends nor writes.
    unmovable: its host is failing, and no live migration takes it away. host: its host is lost.

    restart: where it is. elsewhere: on another host that a controller chooses, at once; where it is, if none takes it.

    Examples:

        segue vm on-crash web1 leave

        segue vm on-crash web1 panic=leave,silence=restart --restarts-per-hour 2

        segue vm on-crash web1 elsewhere,unmovable=elsewhere
    """
    host, _ = fleet.load().find(name)
    shown = host.call("PUT", f"/guests/{name}/on-crash", policy(wanted, restarts_per_hour))
    known = shown["spec"]["on_crash"]
    row = (name, *(known[sort] for sort in Sort), str(known["per_hour"]))
    output.show(shown, form, [row], COLUMNS)
