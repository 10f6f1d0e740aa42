"""`segue domain`: racks, power feeds and the like: what they lie within, and the link that their hosts share."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import fleet, fleet_file, output, rule, values
from segue.cli.output import Format, Output

app = typer.Typer(
    help="Domains of hosts, such as racks: what they lie within, the link they share.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The domain, as rack=r1.")]
COLUMNS: Final = ("DOMAIN", "WITHIN", "UPLINK")
WARNED_COLUMNS: Final = ("DOMAIN", "WHAT HAS FAILED", "SAID BY", "AT")


@app.command("set")
def set_(
    name: Name,
    within: Annotated[
        list[str] | None, typer.Option(help="A label that its hosts inherit, as feed=a.")
    ] = None,
    uplink: Annotated[
        str, typer.Option(help="The link that all its hosts share, as 40gbit; 0: not known.")
    ] = "0",
    form: Output = Format.TABLE,
) -> None:
    """Describe a domain: it replaces what was known of it.

    Example: segue domain set rack=r1 --within feed=a --uplink 40gbit
    """
    label, value = fleet_file.pair(name)
    inherited = dict(fleet_file.pair(each) for each in within or ())
    wish = {"within": inherited, "uplink_bytes_per_s": values.rate_bytes_per_s(uplink)}
    rule.told(fleet.load().demand_controller().call("PUT", f"/domains/{label}/{value}", wish), form)


@app.command("list")
def list_(form: Output = Format.TABLE) -> None:
    """Show all domains that were described.

    Example: segue domain list
    """
    found = fleet.load().demand_controller().all("/domains")
    output.show(found, form, [_row(domain) for domain in found], COLUMNS)


@app.command()
def warn(
    name: Name,
    reason: Annotated[str, typer.Option(help="What has failed, as people will read it.")],
) -> None:
    """Say that a part of a domain has failed: its hosts may have no spare, and guests go there last.

    Where half of a domain's hosts have lost a supply or a link themselves, that is seen without this.

    Example: segue domain warn feed=a --reason "UPS 2 is out until Friday"
    """
    label, value = fleet_file.pair(name)
    path = f"/domains/{label}/{value}/warning"
    fleet.load().demand_controller().call("PUT", path, {"reason": reason})
    output.say(
        f"{name}: {reason}. Its hosts are named in `segue host health`; take it back: segue domain clear {name}"
    )


@app.command()
def clear(name: Name) -> None:
    """Take back what was said by `segue domain warn`.

    Example: segue domain clear feed=a
    """
    label, value = fleet_file.pair(name)
    fleet.load().demand_controller().call("DELETE", f"/domains/{label}/{value}/warning")
    output.say(f"{name} is well again.")


@app.command()
def warnings(form: Output = Format.TABLE) -> None:
    """Show the domains of which somebody said that a part failed.

    Example: segue domain warnings
    """
    found = fleet.load().demand_controller().all("/warnings")
    rows = [(_named(one), one["reason"], one["by"], values.show_time(one["at_s"])) for one in found]
    output.show(found, form, rows, WARNED_COLUMNS)


@app.command()
def remove(name: Name) -> None:
    """Forget what was said of a domain; the labels of its hosts stay.

    Example: segue domain remove rack=r1
    """
    label, value = fleet_file.pair(name)
    fleet.load().demand_controller().call("DELETE", f"/domains/{label}/{value}")
    output.say(f"Nothing is known of {name} any more.")


def _named(one: dict[str, Any]) -> str:
    return f"{one['label']}={one['value']}"


def _row(domain: dict[str, Any]) -> tuple[str, ...]:
    within = " ".join(f"{label}={value}" for label, value in sorted(domain["within"].items()))
    rate = domain["uplink_bytes_per_s"]
    return _named(domain), within, f"{values.show_bytes(rate)}/s" if rate else ""
