"""`segue probe` as a user runs it: another process, signals, exit codes, what goes to stdout and to stderr."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import pytest
import yaml

from tests.traffic import servers
from tests.traffic.test_udp_probe import plain


async def segue_probe(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "segue", "probe", *arguments, stdout=PIPE, stderr=PIPE
    )


async def outcome(process: Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), servers.LIMIT_S)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_a_report(number: signal.Signals) -> None:
    async with servers.udp_echo(plain) as (target, echo):
        process = await segue_probe("udp", target, "-o", "json")
        assert process.stderr is not None
        ready = await asyncio.wait_for(process.stderr.readline(), servers.LIMIT_S)
        await asyncio.wait_for(echo.enough.wait(), servers.LIMIT_S)
        process.send_signal(number)
        code, out, err = await outcome(process)
    assert ready.startswith(b"ready")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["sent"] == report["received"] == len(echo.seen)
    assert (report["probe"], report["target"], report["lost"]) == ("udp", target, 0)


async def test_every_long_gap_is_told_when_it_ends() -> None:
    async with servers.udp_echo(lambda n, p: [(0.0, p)] if n % 250 < 50 else []) as (target, _):
        process = await segue_probe(
            "udp", target, "--duration", "1s", "--gap", "120ms", "--events", "--drain", "0s", "-o", "yaml"
        )
        code, out, err = await outcome(process)
    report = yaml.safe_load(out)
    told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert code == 0
    assert {event["event"] for event in told} == {"gap"}
    assert all(event["length_s"] > 0.12 for event in told)
    long = [gap for gap in report["gaps"] if gap["ended_s"] - gap["started_s"] > 0.12]
    assert sorted(event["started_s"] for event in told) == sorted(gap["started_s"] for gap in long)


async def test_a_table_is_for_people() -> None:
    async with servers.udp_echo(plain) as (target, _):
        code, out, _ = await outcome(await segue_probe("udp", target, "--duration", "300ms"))
    assert code == 0
    assert "longest gap" in out
    assert "own longest pause" in out


async def test_the_exit_code_says_what_was_wrong() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{sock.getsockname()[1]}"
    runs = {
        ("tcp", closed): 8,
        ("udp", "nowhere.invalid:7000"): 3,
        ("http", "no-url"): 2,
        ("udp", closed, "--rate", "0"): 2,
        ("redis", closed, "--duration", "soon"): 2,
    }
    processes = [await segue_probe(*arguments) for arguments in runs]
    outcomes = await asyncio.gather(*(outcome(process) for process in processes))
    assert [code for code, _, _ in outcomes] == list(runs.values())
    assert all(out == "" and "what to do:" in err for _, out, err in outcomes)
