"""Certificates renew themselves over the connection that stands; what fails is said; nothing is cut off by it."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from segue.adapters import pki, pki_files
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Pair
from segue.agent.renewal import Renewal
from segue.controller import folder
from tests.controller.rig import Rig
from tests.controller.toy import ToyHost

TTL_S = 16


def short(
    rig: Rig, pair: Pair, uri: str, names: list[str], valid_s: float = TTL_S, age_s: float = 0.0
) -> Pair:
    valid = dt.timedelta(seconds=valid_s)
    age = dt.timedelta(seconds=age_s) or pki.early(valid)
    return pki.issue(
        rig.folder.authority(), pair, common_name=names[0], uri=uri, dns_names=names, addresses=["127.0.0.1"],
        server=True, not_before=dt.datetime.now(dt.UTC) - age, valid=valid,
    )  # fmt: skip


def serial(pair: Pair) -> str:
    return f"{x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number:X}"


async def renewing(
    rig: Rig, name: str, valid_s: float = TTL_S, age_s: float = 0.0, ca: Path | None = None
) -> ToyHost:
    """A host that keeps its certificate young as an agent does; made when the controller serves, not to age before."""
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    pair = Pair(rig.path / f"host-{name}.pem", rig.path / f"host-{name}.key")
    short(rig, pair, f"segue://fleet/host/{name}", [name], valid_s, age_s)
    host = ToyHost(rig.world, rig.path, name)
    host.own = OwnTls(ca or rig.folder.ca, pair)
    context = host.own.client()
    way = replace(rig.way(name, {}), tls=lambda: context, renewal=Renewal(host.own, name))
    await host.begin(way)
    return host


async def test_a_host_outlives_its_certificate_without_a_break(rig: Rig) -> None:
    rig.start("c1", "--certificate-ttl", f"{TTL_S}s")
    host, rig.world.move_s = await renewing(rig, "host1"), TTL_S * 1.2
    await rig.host("host2")
    assert host.own is not None
    first, begun_s = serial(host.own.pair), time.time()
    old = Pair(rig.path / "old.pem", rig.path / "old.key")
    old.certificate.write_bytes(host.own.pair.certificate.read_bytes())
    old.key.write_bytes(host.own.pair.key.read_bytes())
    host.add("web1")
    await rig.up(2)
    await rig.until("it is known", lambda: rig.caller().call("GET", "/guests/web1"))
    move = await rig.call("POST", "/guests/web1/migrations", {"to": "host2"})
    await rig.until("a second certificate", lambda: serial(host.own.pair) != first)  # type: ignore[union-attr]
    assert time.time() - begun_s < TTL_S, "before the first ended"
    assert (await rig.ended(move["id"], 60.0))["state"] == "done"
    assert time.time() - begun_s > TTL_S, "and it went on when the first had"
    assert rig.logs().count("agent connected") == 2, "one connection for each host, all the time"
    context = OwnTls(rig.folder.ca, old).client()
    with pytest.raises((ssl.SSLError, OSError)):
        await handshake(rig, context)
    lines = (await rig.call("GET", "/audit?limit=500"))["items"]
    assert [line for line in lines if line["what"] == "renew" and line["who"] == "host1"]


async def handshake(rig: Rig, context: ssl.SSLContext) -> str:
    """The number of the controller's certificate; TLS 1.3 tells a refusal with the first answer."""

    def call() -> str:
        with (
            socket.create_connection(("127.0.0.1", rig.controllers[0].port), 10.0) as raw,
            context.wrap_socket(raw, server_hostname="segue-controller") as line,
        ):
            line.sendall(b"GET /v1/ca HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            if not line.recv(100):
                raise OSError("it hung up")
            return str((line.getpeercert() or {})["serialNumber"])

    return await asyncio.to_thread(call)


async def test_after_a_restart_the_new_one_counts_and_the_one_before_is_over(rig: Rig) -> None:
    rig.start()
    host = await renewing(rig, "host1", 20.0)
    assert host.own is not None
    await rig.up(1)
    first = serial(host.own.pair)
    await rig.until("a second certificate", lambda: serial(host.own.pair) != first)  # type: ignore[union-attr]
    record = (await rig.call("GET", "/hosts/host1"))["record"]
    assert record["serial"] == first
    assert record["renewed"] == [serial(host.own.pair)]
    await host.die()
    host.lost = False
    context = host.own.client()
    await host.begin(replace(rig.way("host1", {}), tls=lambda: context))

    def promoted() -> bool:
        seen: dict[str, Any] = rig.caller().call("GET", "/hosts/host1")["record"]
        return bool(seen["serial"] == serial(host.own.pair) and not seen["renewed"])  # type: ignore[union-attr]

    await rig.until("it speaks with the new one", promoted)


async def test_a_renewal_that_fails_is_said_long_before_the_end_and_tried_again(rig: Rig) -> None:
    """The new key cannot be written: something lies where it is to go."""
    rig.start()
    host = await renewing(rig, "host1", 60.0, age_s=38.0)
    assert host.own is not None
    fresh = pki_files.fresh(host.own.pair).key
    obstacle = fresh.with_name(f".{fresh.name}.half")
    obstacle.mkdir()

    def warned() -> Any:
        told = rig.caller().call("GET", "/status")["warnings"]
        return [line for line in told if "host1" in line and "Is a directory" in line]

    await rig.until("status warns", warned)
    assert host.own.certificate().ends_s > time.time() + 5, "long before its end"
    assert (await rig.call("GET", "/status"))["hosts_up"] == 1
    first = serial(host.own.pair)
    obstacle.rmdir()
    await rig.until("it was tried again", lambda: serial(host.own.pair) != first)  # type: ignore[union-attr]
    assert host.own.certificate().problem == ""


async def test_the_controller_renews_its_own(rig: Rig) -> None:
    names = ["segue-controller", "localhost"]
    short(rig, rig.folder.pair, "segue://fleet/controller/c1", names)
    rig.start("c1", "--certificate-ttl", f"{TTL_S}s")
    context = OwnTls(rig.folder.ca, rig.folder.admin).client()
    host = await rig.host("host1")
    await rig.up(1)
    seen = {await handshake(rig, context)}
    until_s = time.monotonic() + TTL_S * 2
    while time.monotonic() < until_s and len(seen) < 3:
        await asyncio.sleep(0.5)
        seen.add(await handshake(rig, context))
    assert len(seen) >= 3, "two renewals, and nobody had to start it again"
    assert rig.controllers[0].alive
    host.add("web1")
    await rig.until("the old connection works", lambda: rig.caller().call("GET", "/guests/web1"))
    assert rig.logs().count("agent connected") == 1


async def test_a_ca_lasts_longer_and_nobody_loses_his_certificate(rig: Rig) -> None:
    """The next CA reaches a host with its next certificate; who has the old one alone trusts what the next signs."""
    older = rig.folder.ca.read_bytes()
    host_ca = rig.path / "host-ca.pem"
    host_ca.write_bytes(older)
    await asyncio.sleep(1.1)  # A certificate's times are whole seconds.
    made = folder.renew_ca(rig.folder)
    assert made.certificate.not_valid_after_utc.timestamp() > pki.span(older)[1]
    rig.start()
    host = await renewing(rig, "host1", 12.0, ca=host_ca)
    await rig.up(1)
    await rig.until("the host has it", lambda: host_ca.read_bytes() == rig.folder.ca.read_bytes())
    assert host.own is not None
    context = ssl.create_default_context(cadata=older.decode())
    context.load_cert_chain(host.own.pair.certificate, host.own.pair.key)
    assert await handshake(rig, context), "with the CA as it was"
    assert (await rig.call("GET", "/status"))["warnings"] == []


async def test_a_ca_that_ends_soon_is_said(rig: Rig) -> None:
    short_ca = pki.new_authority("segue fleet CA", dt.timedelta(days=400), rig.folder.authority().key)
    rig.folder.ca.write_bytes(short_ca.certificate.public_bytes(Encoding.PEM))
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    (line,) = (await rig.call("GET", "/status"))["warnings"]
    assert "the fleet's CA ends on" in line
