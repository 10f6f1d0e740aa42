"""`segue probe`: watches a service as its clients do, and reports what they would have noticed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from segue.cli import output, values
from segue.cli.output import Format, Output

if TYPE_CHECKING:
    from segue.model.observation import Gap, Observation
    from segue.traffic.probe import Wish

app = typer.Typer(no_args_is_help=True, add_completion=False)

NICE: Final = -10
"""As the agent: a probe that waits for the processor would report its own waiting."""

HostPort = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the service is.")]
Connections = Annotated[int, typer.Option(help="So many clients at once, each with a connection.")]
Interval = Annotated[str, typer.Option(help="From one request of a client to its next.")]
Timeout = Annotated[str, typer.Option(help="A request without an answer has failed after this time.")]
Duration = Annotated[str, typer.Option(help="Stop after this time; left out: at Ctrl-C or SIGTERM.")]
First = Annotated[str, typer.Option("--first-reply", help="Give up when nothing is heard by then.")]
Drain = Annotated[str, typer.Option(help="After the stop, wait this long for late replies.")]
Worst = Annotated[int, typer.Option(help="How many of the longest gaps to list.")]
Events = Annotated[bool, typer.Option("--events", help="Tell of each gap on stderr, as a line of JSON.")]
GapLimit = Annotated[str, typer.Option("--gap", help="With --events: only of gaps longer than this.")]


@app.callback()
def _probe() -> None:
    """Watch a service as its clients do: losses, the longest gap between two replies, broken connections.

    A line that begins with "ready" on stderr says that the first reply came. The report is printed at the end.

    Example: segue probe udp 10.77.100.1:7000 --duration 10s -o json
    """


@app.command()
def udp(
    target: HostPort,
    rate: Annotated[float, typer.Option(help="Packets per second.")] = 1000.0,
    size: Annotated[int, typer.Option(help="Bytes in each packet.")] = 200,
    duration: Duration = "",
    first_reply: First = "5s",
    drain: Drain = "2s",
    worst: Worst = 20,
    events: Events = False,
    gap: GapLimit = "100ms",
    form: Output = Format.TABLE,
) -> None:
    """Send numbered packets at a steady rate to a UDP echo service.

    Example: segue probe udp 10.77.100.1:7000 --rate 1000 --duration 10s
    """
    from segue.traffic.probe import Protocol, Wish

    wish = Wish(
        Protocol.UDP,
        target,
        rate_per_s=rate,
        size_bytes=size,
        duration_s=_duration_s(duration),
        first_reply_s=values.duration_s(first_reply),
        drain_s=values.duration_s(drain),
        worst=worst,
        gap_s=values.duration_s(gap),
    )
    _watch(wish, events, form)


@app.command()
def tcp(
    target: HostPort,
    interval: Interval = "10ms",
    connections: Connections = 1,
    size: Annotated[int, typer.Option(help="Bytes in each request.")] = 200,
    duration: Duration = "",
    timeout: Timeout = "10s",
    first_reply: First = "5s",
    drain: Drain = "2s",
    worst: Worst = 20,
    events: Events = False,
    gap: GapLimit = "100ms",
    form: Output = Format.TABLE,
) -> None:
    """Ask a TCP echo service over open connections, and compare what comes back.

    Example: segue probe tcp 10.77.100.1:7001 --connections 10
    """
    from segue.traffic.probe import Protocol, Wish

    wish = Wish(
        Protocol.TCP,
        target,
        interval_s=values.duration_s(interval),
        connections=connections,
        size_bytes=size,
        duration_s=_duration_s(duration),
        timeout_s=values.duration_s(timeout),
        first_reply_s=values.duration_s(first_reply),
        drain_s=values.duration_s(drain),
        worst=worst,
        gap_s=values.duration_s(gap),
    )
    _watch(wish, events, form)


@app.command()
def http(
    url: Annotated[str, typer.Argument(metavar="URL", help="The page to GET.")],
    interval: Interval = "10ms",
    connections: Connections = 1,
    duration: Duration = "",
    timeout: Timeout = "10s",
    first_reply: First = "5s",
    drain: Drain = "2s",
    worst: Worst = 20,
    events: Events = False,
    gap: GapLimit = "100ms",
    form: Output = Format.TABLE,
) -> None:
    """GET a page again and again over connections that are kept alive.

    Example: segue probe http http://10.77.100.1:8080/ --interval 5ms
    """
    from segue.traffic.probe import Protocol, Wish

    wish = Wish(
        Protocol.HTTP,
        url,
        interval_s=values.duration_s(interval),
        connections=connections,
        duration_s=_duration_s(duration),
        timeout_s=values.duration_s(timeout),
        first_reply_s=values.duration_s(first_reply),
        drain_s=values.duration_s(drain),
        worst=worst,
        gap_s=values.duration_s(gap),
    )
    _watch(wish, events, form)


@app.command()
def redis(
    target: HostPort,
    interval: Interval = "10ms",
    connections: Connections = 1,
    duration: Duration = "",
    timeout: Timeout = "10s",
    first_reply: First = "5s",
    drain: Drain = "2s",
    worst: Worst = 20,
    events: Events = False,
    gap: GapLimit = "100ms",
    form: Output = Format.TABLE,
) -> None:
    """Write new keys to a Redis server; at the end read back every acknowledged write, and remove it.

    Example: segue probe redis 10.77.100.1:6379 --duration 30s
    """
    from segue.traffic.probe import Protocol, Wish

    wish = Wish(
        Protocol.REDIS,
        target,
        interval_s=values.duration_s(interval),
        connections=connections,
        duration_s=_duration_s(duration),
        timeout_s=values.duration_s(timeout),
        first_reply_s=values.duration_s(first_reply),
        drain_s=values.duration_s(drain),
        worst=worst,
        gap_s=values.duration_s(gap),
    )
    _watch(wish, events, form)


def _duration_s(text: str) -> float | None:
    return values.duration_s(text) if text else None


def _watch(wish: Wish, events: bool, form: Format) -> None:
    import asyncio

    _come_first()
    seen = asyncio.run(_until_signal(wish, events))
    data = asdict(seen)
    output.show(data, form, rows=_rows(seen), columns=("what", "value"))
    if form is Format.TABLE and seen.gaps:
        rows = [_gap_row(gap) for gap in seen.gaps[:5]]
        output.show(data, form, rows=rows, columns=("longest gaps", "from", "until"))


async def _until_signal(wish: Wish, events: bool) -> Observation:
    import asyncio
    import signal

    from segue.traffic import probe

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await probe.run_probe(
        wish,
        stop,
        on_heard=lambda: _tell(f"ready: {wish.target} answers"),
        on_gap=_tell_gap if events else lambda gap: None,
    )


def _come_first() -> None:
    """An ordinary user may not, and has to do with what processor time there is."""
    import os

    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except PermissionError:
        return


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _tell_gap(gap: Gap) -> None:
    event = {"event": "gap", "started_s": gap.started_s, "ended_s": gap.ended_s, "length_s": gap.length_s}
    _tell(json.dumps(event))


def _rows(seen: Observation) -> list[tuple[str, str]]:
    latency = seen.latency
    rows = [
        ("probe", f"{seen.probe} {seen.target}"),
        ("watched for", f"{seen.ended_s - seen.started_s:.1f} s"),
        ("sent", f"{seen.sent}"),
        ("received", f"{seen.received}"),
        (
            "lost",
            f"{seen.lost}" + (f", first at {_time_of_day(seen.lost_sent_s[0])}" if seen.lost_sent_s else ""),
        ),
        ("duplicated", f"{seen.duplicated}"),
        ("reordered", f"{seen.reordered}"),
        ("failed", f"{seen.failed}"),
        ("retried", f"{seen.retried}"),
        ("broken connections", f"{seen.broken_connections}"),
        ("longest gap", values.show_ms(seen.longest_gap_s)),
        ("latency p50 / p99", f"{values.show_ms(latency.p50_s)} / {values.show_ms(latency.p99_s)}"),
        ("latency max", values.show_ms(latency.max_s)),
    ]
    if seen.probe == "redis":
        rows.append(("lost writes", f"{seen.lost_writes}"))
    if seen.probe == "udp":
        rows.append(("own longest pause", values.show_ms(seen.own_pause_s)))
    else:
        rows.append(("longest request", values.show_ms(seen.longest_request_s)))
    return rows


def _gap_row(gap: Gap) -> tuple[str, str, str]:
    return values.show_ms(gap.length_s), _time_of_day(gap.started_s), _time_of_day(gap.ended_s)


def _time_of_day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%H:%M:%S.%f")
