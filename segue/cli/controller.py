"""`segue controller`: makes a controller's folder, and runs a controller in the foreground, as its service does."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import output, values
from segue.cli.logs import LogForm, Logs, configure
from segue.cli.store import DEFAULT
from segue.errors import Kind, Refused

app = typer.Typer(
    help="The fleet's controller: init, run, certify, adopt.", no_args_is_help=True, add_completion=False
)
Dir = Annotated[Path, typer.Option(help="Its folder.")]
Holds = Annotated[
    str, typer.Option(help="How long a certificate holds. It is renewed after two thirds of that.")
]
AuditFile = Annotated[
    Path | None, typer.Option(help="Where every line of the audit is appended, as JSON, for the long run.")
]
Metrics = Annotated[
    str, typer.Option(help="ADDRESS:PORT for Prometheus without TLS; else it reads the API's port.")
]
Traces = Annotated[
    str, typer.Option(help="URL of an OpenTelemetry collector: http://192.0.2.9:4318/v1/traces.")
]
Incidents = Annotated[
    str, typer.Option(help="URL where the leader posts each change of an incident, also that a host is lost.")
]
Evacuated = Annotated[
    int,
    typer.Option(min=0, help="Hosts with failing hardware that it empties at once by itself; 0: people do."),
]
RenewPeople = Annotated[
    bool,
    typer.Option(
        "--renew-people/--no-renew-people",
        help="People get the next certificate for the one before, in its last third.",
    ),
]
FOLDER = Path("/etc/segue/controller")
PORT = 7440
SHORTEST_S, LONGEST_S = 10.0, 1000 * 86400.0


@app.command()
def init(
    dir: Dir = FOLDER,
    address: Annotated[
        list[str] | None,
        typer.Option(help="A name or address of this machine, for its certificate. Several."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="A CA that there is already, for one more controller.")
    ] = None,
    ca_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
) -> None:
    """Make the fleet's CA, this controller's certificate and the first admin's. Nothing is ever overwritten.

    Example: segue controller init --address 192.0.2.10
    """
    from segue.controller import folder as files
    from segue.errors import Kind, Refused

    if (ca is None) != (ca_key is None):
        raise Refused(
            what="nothing was made",
            why="--ca and --ca-key belong together",
            todo="Give both, or none.",
            kind=Kind.USAGE,
        )
    made = files.Folder(dir)
    files.init(made, address or [], (ca, ca_key) if ca and ca_key else None)
    output.say(f"Made {dir}. Keep ca.key safe: whoever has it can be any host of the fleet.")
    output.say(
        f"An admin's context file has: [controller] urls = [...], and [tls] with {made.admin.certificate}."
    )


@app.command()
def certify(
    role: Annotated[str, typer.Argument(help="viewer, operator or admin.")],
    name: Annotated[str, typer.Argument(help="The person, by which the audit knows him.")],
    out: Annotated[Path, typer.Option(help="Where NAME.pem and NAME.key are written.")] = Path(),
    ttl: Annotated[
        str, typer.Option(help="How long it holds; it renews itself in its last third.")
    ] = "2160h",
    dir: Dir = FOLDER,
) -> None:
    """Make a person's certificate with the CA's key, on a controller's machine: also where the last admin's has ended.

    Examples:

        segue controller certify admin ada

        segue controller certify operator olga --ttl 720h --out /root/people
    """
    from segue.controller import folder as files

    made = files.certify(files.Folder(dir), role, name, out, values.duration_s(ttl))
    output.say(
        f"Made {made.certificate} and {made.key}: for [tls] in the context file of {name}, with {dir}/ca.pem."
    )


@app.command()
def renew_ca(dir: Dir = FOLDER) -> None:
    """Make the fleet's CA last ten more years. Its key stays, so that nobody loses his certificate by it.

    Then copy ca.pem to the other controllers and to people, and restart the controllers one after the other.
    Agents get it with their next certificate. Tokens to join that were made before are worth nothing any more.

    Example: segue controller renew-ca
    """
    from segue.controller import folder as files

    made = files.renew_ca(files.Folder(dir))
    output.say(f"{dir}/ca.pem holds until {made.certificate.not_valid_after_utc:%Y-%m-%d}.")


@app.command()
def adopt(
    fleet: Annotated[
        str, typer.Argument(help="The other fleet's id, or its beginning, as `segue status` has it.")
    ],
) -> None:
    """Put this fleet in the place of another one whose store is lost: its hosts obey this one's controllers then.

    Hosts remember the fleet that they belong to, so that a second store under the same CA does not take them over. Do
    this only when no controller leads from the other store any more.

    Example: segue controller adopt 3f2a9c1d
    """
    from segue.cli import fleet as context

    controller = context.load().demand_controller()
    seen = controller.call("GET", "/identity")
    known = {*seen["strangers"].values(), *seen["succeeds"]}
    found = sorted(one for one in known if one.startswith(fleet)) or [fleet]
    if len(found) > 1:
        raise Refused(
            what="no fleet was taken over",
            why=f"'{fleet}' is the beginning of several: {', '.join(found)}",
            todo="Write more of it.",
            kind=Kind.USAGE,
        )
    controller.call("POST", "/identity/succeeds", {"fleet": found[0]})
    hosts = [host for host, other in seen["strangers"].items() if other == found[0]]
    output.say(
        f"Hosts of fleet {found[0]} belong to {seen['id']} from now on; they connect within seconds: {len(hosts)} wait."
    )


@app.command()
def run(
    dir: Dir = FOLDER,
    store: Annotated[
        str,
        typer.Option(
            envvar="SEGUE_STORE",
            help="sqlite:///FILE, or etcd://HOST,HOST,HOST where there are several controllers.",
        ),
    ] = DEFAULT,
    address: Annotated[str, typer.Option(help="Where it listens.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Of the API and of the agents' connections.")] = PORT,
    name: Annotated[str, typer.Option(help="Its name among the controllers; empty: the machine's.")] = "",
    certificate_ttl: Holds = "8760h",
    audit_file: AuditFile = None,
    metrics: Metrics = "",
    traces: Traces = "",
    incidents: Incidents = "",
    logs: Logs = LogForm.LOGFMT,
    renew_people: RenewPeople = True,
    evacuate_failing: Evacuated = 0,
) -> None:
    """Run a controller: it leads the fleet, or waits to. It ends without touching a guest.

    Example: segue controller run --store sqlite:///var/lib/segue/controller.db
    """
    import asyncio

    from segue.controller.folder import Folder
    from segue.controller.main import Settings, serve

    certificate_s = _demand_sense(certificate_ttl, metrics, traces, incidents)
    name = name or platform.node()
    configure(logs, controller=name)
    settings = Settings(
        Folder(dir),
        store,
        address,
        port,
        name,
        certificate_s=certificate_s,
        audit_file=audit_file,
        metrics_address=metrics,
        traces_url=traces,
        incidents_url=incidents,
        renew_people=renew_people,
        evacuate_failing=evacuate_failing,
    )
    asyncio.run(serve(settings))


def _wrong(why: str, option: str) -> Refused:
    return Refused(
        what="the controller cannot start",
        why=f"--{option}: {why}",
        todo="Mend the option, or leave it out.",
        kind=Kind.USAGE,
    )


def _demand_sense(certificate_ttl: str, metrics: str, traces: str, incidents: str) -> float:
    """How long certificates hold, in seconds. Raises Refused."""
    from segue.adapters import spans, webhook
    from segue.adapters.http import metrics_page

    certificate_s = values.duration_s(certificate_ttl)
    if not SHORTEST_S <= certificate_s <= LONGEST_S:
        raise _wrong("certificates hold between 10 s and 1000 days", "certificate-ttl")
    asked = (
        ("metrics", metrics_page.wrong(metrics)),
        ("traces", spans.wrong(traces)),
        ("incidents", webhook.wrong(incidents)),
    )
    for option, why in asked:
        if why:
            raise _wrong(why, option)
    return certificate_s
