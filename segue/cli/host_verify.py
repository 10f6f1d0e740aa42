"""`segue host verify`: a host shows that it may take load again."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, output, task, values
from segue.cli.output import Format, Output

COLUMNS: Final = ("", "CHECK", "WHAT WAS FOUND")


def verify(
    name: Annotated[str, typer.Argument(help="The host.")],
    burn_in: Annotated[str, typer.Option(help="How long the burn-in guest runs; 0: none.")] = "1m",
    memory: Annotated[str, typer.Option(help="How much memory it writes and looks at.")] = "256MiB",
    image: Annotated[
        str, typer.Option(help="Its image on the host: the lab's micro, or one that says the same.")
    ] = "micro",
    to: Annotated[
        str, typer.Option(help="Where it moves and comes back from; else the controller chooses.")
    ] = "",
    stay: Annotated[bool, typer.Option("--stay", help="It moves nowhere.")] = False,
    mended: Annotated[
        list[str] | None,
        typer.Option(help="This part, as memory/DIMM_A1, was repaired: it begins anew. Repeatable."),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Only show what came of the last one.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it has begun.")] = False,
    form: Output = Format.TABLE,
) -> None:
    """Verify a host before it takes load again: doctor's checks, its health, a burn-in guest that moves away and back.

    From its beginning on the host takes guests last, and one that fails takes none until it passes. One that passes is
    no more blamed for what it was before. A cordoned host stays cordoned: uncordon it then.

    Examples:

        segue host verify host3

        segue host verify host3 --mended memory/DIMM_A1 --burn-in 1h --memory 16GiB

        segue host verify host3 --last

    Exit code: 0 it has passed, 1 it has not.
    """
    controller = fleet.load().demand_controller()
    if not last:
        wish = {"image": image, "to": to, "stay": stay, "mended": mended or []}
        wish |= {"burn_s": values.duration_s(burn_in), "memory_bytes": values.size_bytes(memory)}
        begun = controller.call("POST", f"/hosts/{name}/verify", wish)
        if detach:
            output.say(f"Begun.  Watch: segue task watch {begun['id'][:8]}")
            return
        if task.follow(controller, begun["id"]) == output.DETACHED:
            raise typer.Exit(output.DETACHED)
    raise typer.Exit(_show(controller.call("GET", f"/hosts/{name}/verification"), form))


def _show(found: dict[str, Any], form: Format) -> int:
    rows = [("ok" if check["ok"] else "FAILED", check["name"], check["text"]) for check in found["checks"]]
    output.show(found, form, rows, COLUMNS)
    if form is Format.TABLE:
        word = "has passed" if found["ok"] else "has not passed"
        output.say(f"{found['host']} {word}, {values.show_time(found['at_s'])}, asked for by {found['by']}.")
    return 0 if found["ok"] else 1
