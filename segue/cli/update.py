"""`segue vm update`: gives a running guest the QEMU that is installed on its host, and says what its client saw."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import budget, fleet, follow, output, values
from segue.cli.fleet import Host
from segue.cli.migrate import DETACHED, Detach, Probes
from segue.cli.output import Format, Output

Name = Annotated[str, typer.Argument(help="The guest's name.")]
Again = Annotated[bool, typer.Option("--again", help="Also where it runs in the installed QEMU already.")]
OrMigrate = Annotated[
    str, typer.Option(metavar="HOST", help="Where it cannot be done in place, move the guest to this host.")
]


def update(
    name: Name,
    again: Again = False,
    or_migrate: OrMigrate = "",
    max_blackout: budget.MaxBlackout = "300ms",
    notice: budget.Notice = "0",
    probe: Probes = None,
    detach: Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Give a running guest the QEMU that is installed on its host, without moving its memory.

    Examples:

        segue vm update web1

        segue vm update web1 --max-blackout 50ms --probe udp:7000

        segue vm update web1 --or-migrate host2

    Exit code: 0 updated, 1 aborted (it runs on in its old QEMU), 2 to 8 refused (nothing was begun), 130 detached.
    """
    host, guest = fleet.load().find(name)
    limits: dict[str, Any] = {
        "blackout_s": values.duration_s(max_blackout),
        "notice_s": values.duration_s(notice),
    }
    wish = {"limits": limits, "again": again, "or_migrate": or_migrate}
    if detach:
        begun = _begin(host, name, wish)
        output.say(f"Begun.  Watch: segue migration watch {begun['id'][:8]}")
        return
    raise typer.Exit(_follow(host, guest, wish, probe or [], form))


def _begin(host: Host, name: str, wish: dict[str, Any]) -> dict[str, Any]:
    return dict(host.call("POST", f"/guests/{name}/update", wish, within_s=fleet.BEGIN_S))


def _follow(host: Host, guest: dict[str, Any], wish: dict[str, Any], probe: list[str], form: Format) -> int:
    from segue.cli import probing

    with probing.running(guest, probe) as probes:
        begun = _begin(host, guest["name"], wish)
        try:
            record = follow.watch(host, begun["id"])
        except KeyboardInterrupt:
            output.say(f"Detached; the update goes on.  Watch: segue migration watch {begun['id'][:8]}")
            return DETACHED
        seen = probes.finish()
    for observation in seen:
        record = host.call("POST", f"/migrations/{begun['id']}/observations", observation)
    code = follow.conclude(record)
    for observation in seen:
        output.say(probing.sentence(observation))
    if form is not Format.TABLE:
        output.show(record, form)
    return code
