"""The UDP probe against a real echo on loopback that loses, repeats, delays and spoils packets on purpose."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from segue.errors import Kind, Refused
from segue.model.observation import Gap, Observation
from segue.traffic.probe import Protocol, Wish, run_probe
from tests.traffic import servers

Treat = Callable[[int, bytes], list[tuple[float, bytes]]]
ADJUSTED_S = 0.01
"""By so much the wall clock may be set while a test runs."""


async def watch(treat: Treat, **wish: Any) -> tuple[Observation, servers.Echo]:
    """Probe until the echo has seen enough packets."""
    async with servers.udp_echo(treat) as (target, echo):
        seen = await asyncio.wait_for(
            run_probe(Wish(Protocol.UDP, target, **{"drain_s": 5.0, **wish}), echo.enough), servers.LIMIT_S
        )
    return seen, echo


def plain(number: int, packet: bytes) -> list[tuple[float, bytes]]:
    return [(0.0, packet)]


async def test_nothing_is_lost_where_nothing_is_lost() -> None:
    seen, echo = await watch(plain)
    assert seen.sent == seen.received == len(echo.seen) >= echo.stop_after
    assert (seen.lost, seen.duplicated, seen.reordered, seen.failed) == (0, 0, 0, 0)
    assert seen.started_s < echo.answered[0][0] < echo.answered[-1][0] < seen.ended_s


async def test_exactly_the_dropped_packets_are_lost() -> None:
    seen, echo = await watch(lambda n, p: [] if n % 7 == 3 else plain(n, p), drain_s=0.5)
    dropped = sum(1 for number in echo.seen if number % 7 == 3)
    assert (seen.sent, seen.lost) == (len(echo.seen), dropped)
    assert seen.received == seen.sent - dropped


async def test_exactly_the_repeated_packets_are_duplicates() -> None:
    # The copy goes out before the last packet, so that none is still on its way when the probe ends.
    seen, _ = await watch(lambda n, p: [(0.0, p)] * (3 if n % 10 == 0 and n < 200 else 1))
    assert (seen.duplicated, seen.lost, seen.reordered) == (40, 0, 0)


async def test_exactly_the_overtaken_packets_are_reordered() -> None:
    held: list[bytes] = []

    def treat(number: int, packet: bytes) -> list[tuple[float, bytes]]:
        if number % 20 == 5 and number < 200:
            held.append(packet)
            return []
        return [(0.0, packet), *((0.0, held.pop()) for _ in held[:1])]

    seen, _ = await watch(treat)
    assert (seen.reordered, seen.lost, seen.duplicated) == (10, 0, 0)


async def test_spoiled_packets_are_failed_and_lost() -> None:
    seen, _ = await watch(
        lambda n, p: [(0.0, p[:-1] + b"?")] if n in (10, 11, 12) else plain(n, p), drain_s=0.5
    )
    assert (seen.failed, seen.lost, seen.duplicated) == (3, 3, 0)


async def test_packets_held_and_then_delivered_make_a_gap_but_no_loss() -> None:
    held: list[bytes] = []
    times: dict[str, float] = {}

    def treat(number: int, packet: bytes) -> list[tuple[float, bytes]]:
        if 100 <= number < 350:
            held.append(packet)
            return []
        if number >= 350 and held:
            times["released"] = time.time()
            held.append(packet)
            burst = [(0.0, packet) for packet in held]
            held.clear()
            return burst
        if number == 99:
            times["last"] = time.time()
        return plain(number, packet)

    gaps: list[Gap] = []
    async with servers.udp_echo(treat) as (target, echo):
        echo.stop_after = 400
        wish = Wish(Protocol.UDP, target, gap_s=0.15, drain_s=5.0)
        seen = await asyncio.wait_for(run_probe(wish, echo.enough, on_gap=gaps.append), servers.LIMIT_S)
    assert (seen.lost, seen.duplicated, seen.reordered) == (0, 0, 0)
    # A gap begins when the last reply before it has come, which is after that was sent and maybe after the next one
    # was held; it ends with the first of those that were held. The probe's clock is steady, and the wall's is adjusted.
    # A machine that is busy makes others of its own.
    (gap,) = (one for one in seen.gaps if one.started_s < times["released"] <= one.ended_s + ADJUSTED_S)
    assert times["last"] - ADJUSTED_S <= gap.started_s
    assert seen.longest_gap_s == pytest.approx(max(one.ended_s - one.started_s for one in seen.gaps))
    assert gap in gaps


async def test_late_replies_count_as_received_within_the_drain_time() -> None:
    late, _ = await watch(lambda n, p: [(0.4, p)])
    assert late.lost == 0
    assert late.latency.p50_s >= 0.39


async def test_replies_after_the_drain_time_count_as_lost() -> None:
    seen, _ = await watch(lambda n, p: [(0.0 if n < 200 else 3.0, p)], drain_s=0.2)
    assert seen.received == 200
    assert seen.lost == seen.sent - 200
    assert seen.gaps[0].ended_s < seen.ended_s


async def test_the_rate_is_kept_over_the_whole_run() -> None:
    seen, _ = await watch(plain, rate_per_s=500.0)
    # The schedule is absolute: whatever single packets do, number n is never sent before n periods are over.
    assert seen.ended_s - seen.started_s >= (seen.sent - 1) / 500.0


async def test_a_duration_ends_the_probe() -> None:
    async with servers.udp_echo(plain) as (target, _):
        wish = Wish(Protocol.UDP, target, duration_s=0.3)
        seen = await asyncio.wait_for(run_probe(wish, asyncio.Event()), servers.LIMIT_S)
    assert seen.sent > 0
    assert seen.lost == 0


async def test_packets_of_another_run_are_not_counted() -> None:
    strangers: list[bytes] = []

    def treat(number: int, packet: bytes) -> list[tuple[float, bytes]]:
        stranger = packet[:4] + bytes(8) + packet[12:]
        strangers.append(stranger)
        return [(0.0, stranger), (0.0, packet), (0.0, b"short")]

    seen, _ = await watch(treat)
    assert strangers
    assert (seen.lost, seen.duplicated, seen.failed) == (0, 0, 0)


async def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(Refused, match="no service listens on that UDP port") as caught:
        await run_probe(
            Wish(Protocol.UDP, f"127.0.0.1:{port}", first_reply_s=servers.LIMIT_S), asyncio.Event()
        )
    assert caught.value.kind is Kind.UNREACHABLE


async def test_silence_is_refused_when_the_time_for_the_first_reply_is_over() -> None:
    with pytest.raises(Refused, match="no reply came") as caught:
        await watch(lambda n, p: [], first_reply_s=0.2)
    assert caught.value.kind is Kind.UNREACHABLE


async def test_silence_is_refused_when_the_probe_is_stopped() -> None:
    with pytest.raises(Refused, match="no reply came"):
        await watch(lambda n, p: [], drain_s=0.1)


async def test_a_host_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Refused, match=r"nowhere\.invalid is not known") as caught:
        await run_probe(Wish(Protocol.UDP, "nowhere.invalid:7000"), asyncio.Event())
    assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("text", ["7000", "host", "host:", ":7000", "host:0", "host:70000", "host:seven"])
async def test_a_target_without_host_and_port_is_a_usage_error(text: str) -> None:
    with pytest.raises(Refused) as caught:
        await run_probe(Wish(Protocol.UDP, text), asyncio.Event())
    assert caught.value.kind is Kind.USAGE


@pytest.mark.parametrize("wish", [{"rate_per_s": 0.0}, {"size_bytes": 3}, {"size_bytes": 9000}, {"worst": 0}])
async def test_what_no_probe_can_do_is_a_usage_error(wish: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        await watch(plain, **wish)
    assert caught.value.kind is Kind.USAGE
