"""The part of `segue vm` that planners heed: a guest's labels, and where it wants to be."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, labels, output
from segue.cli.output import Format, Output
from segue.errors import Kind, Refused

Name = Annotated[str, typer.Argument(help="The guest's name; it need not be there yet.")]
Several = list[str] | None
COLUMNS: Final = ("NAME", "LABELS", "WANTS", "PREFERS", "TOLERATES", "IMPORTANCE", "PINNED")


def label(name: Name, changes: labels.Changes, form: Output = Format.TABLE) -> None:
    """Give a guest labels, by which rules choose it. They belong to the name, also before and after the guest.

    Example: segue vm label web1 app=web tier-
    """
    show(change(fleet.load(), name, {"labels": labels.labels(changes)}), form)


def wish(
    name: Name,
    wants: Annotated[
        Several, typer.Option(help="Only such hosts, as rack=r1,r2; rack- takes it back.")
    ] = None,
    prefers: Annotated[Several, typer.Option(help="Such hosts where there are, as rack=r1; rack-.")] = None,
    tolerates: Annotated[Several, typer.Option(help="A taint of hosts; lab- takes it back.")] = None,
    importance: Annotated[
        int | None, typer.Option(help="Placed first where there is not room for all, and dearer to move.")
    ] = None,
    pin: Annotated[str | None, typer.Option(help="Why no planner may move it; '' lets them again.")] = None,
    form: Output = Format.TABLE,
) -> None:
    """Say where a guest wants to be, and what it bears. Planners heed it; a move by name to a host does not ask.

    Examples:

        segue vm wish db1 --wants disk=ssd --prefers rack=r1 --importance 5

        segue vm wish db1 --pin 'a licence for this host' --tolerates lab
    """
    body: dict[str, Any] = {
        "wants": labels.choices(wants or ()),
        "prefers": labels.choices(prefers or ()),
        "tolerates": {
            text.removesuffix("-"): None if text.endswith("-") else True for text in tolerates or ()
        },
        "importance": importance,
        "pinned": pin,
    }
    show(change(fleet.load(), name, body), form)


def change(known: fleet.Fleet, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """What is kept of it now. A name that no guest has yet may be one that was misspelt."""
    controller = known.demand_controller()
    made = dict(controller.call("PATCH", f"/guests/{name}/wishes", body))
    try:
        controller.call("GET", f"/guests/{name}")
    except Refused as error:
        if error.kind is Kind.NOT_FOUND:
            output.say(f"There is no guest {name} now: this is kept for one that gets the name.")
    return made


def show(record: dict[str, Any], form: Format) -> None:
    """One guest's wishes."""

    def chosen(wanted: dict[str, list[str]]) -> str:
        return " ".join(f"{key}={','.join(values)}" for key, values in sorted(wanted.items()))

    worn = " ".join(f"{key}={value}" for key, value in sorted(record["labels"].items()))
    row = (
        record["name"], worn, chosen(record["wants"]), chosen(record["prefers"]),
        " ".join(record["tolerates"]), str(record["importance"]), record["pinned"],
    )  # fmt: skip
    output.show(record, form, [row], COLUMNS)
