"""Agents that are not who they should be, and words of those who have no part in it: nothing changes."""

from __future__ import annotations

import dataclasses
import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from segue.errors import Kind, Refused
from segue.lab import nodes, pki
from segue.model.handoff import MESSAGES
from segue.wire.messages import pack
from tests.lab.client import inside
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow
LONG_AGO = {"not_before": datetime.now(UTC) - timedelta(days=30), "valid": timedelta(days=1)}


@contextmanager
def certified(scene: Scene, host: str, signer: pki.Authority, name: str, **more: Any) -> Iterator[None]:
    """The agent of a host with another certificate."""
    folder = scene.lab.places.shared / "certificates"
    pair = pki.Pair(folder / "host.pem", folder / "host.key")
    address = nodes.parse(host).address
    pki.issue(
        signer,
        pair,
        common_name=name,
        uri=pki.host_uri(name),
        addresses=[address],
        dns_names=[name],
        server=True,
        **more,
    )
    try:
        with scene.configured(host, "cp /srv/segue/shared/certificates/host.* /etc/segue/pki/"):
            yield
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("expired", marks=slow),
        "of another authority",
        pytest.param("of another host", marks=slow),
    ],
)
def test_a_target_with_a_wrong_certificate(scene: Scene, wrong: str) -> None:
    owner = scene.owner()
    fleet, stranger = pki.ensure_authority(scene.lab.places.pki), pki.new_authority()
    signer = stranger if wrong == "of another authority" else fleet
    name = "host9" if wrong == "of another host" else "host3"
    more = LONG_AGO if wrong == "expired" else {}
    with (
        certified(scene, "host3", signer, name, **more),
        pytest.raises(Refused, match="host3 is not trusted") as refused,
    ):
        scene.migrate("host3")
    assert refused.value.kind is Kind.AUTH
    scene.demand_calm()
    assert scene.owner() == owner


@slow
def test_a_source_with_an_expired_certificate(scene: Scene) -> None:
    """Its own fault, and it says so instead of calling the target silent."""
    source, target = scene.route()
    fleet = pki.ensure_authority(scene.lab.places.pki)
    with (
        certified(scene, source, fleet, source, **LONG_AGO),
        pytest.raises(Refused, match=f"{target} does not trust {source}") as refused,
    ):
        scene.migrate(target)
    assert refused.value.kind is Kind.AUTH
    scene.demand_calm()
    scene.migrate(target).end("done")
    scene.demand_calm()


def test_an_agent_without_a_certificate_does_not_start(scene: Scene) -> None:
    change = "sed 's,pki/host.pem,pki/none.pem,' /etc/segue/agent.toml >/tmp/agent.toml"
    scene.run("host3", "sh", "-c", change)
    done = scene.lab.exec("host3", ["segue", "agent", "--config", "/tmp/agent.toml"])
    assert done.returncode == 2, done.stderr
    assert "none.pem is not there" in done.stderr
    scene.demand_calm()


def speak(scene: Scene, host: str, pair: pki.Pair, method: str, path: str, body: object) -> tuple[int, str]:
    """What the agent of a host answers to the owner of this certificate."""
    context = ssl.create_default_context(cafile=scene.lab.places.pki / "ca.pem")
    context.load_cert_chain(pair.certificate, pair.key)
    to = (nodes.parse(host).address, nodes.AGENT_PORT)
    raw = inside(scene.lab, "client1", lambda: socket.create_connection(to, timeout=20.0))
    with context.wrap_socket(raw, server_hostname=host) as line:
        call = http.client.HTTPConnection(host)
        call.sock = line
        call.request(method, path, json.dumps(body))
        answer = call.getresponse()
        return answer.status, answer.read().decode()


def test_an_operator_is_no_host(scene: Scene, tmp_path: Path) -> None:
    authority = pki.ensure_authority(scene.lab.places.pki)
    pair = pki.ensure_operator(authority, tmp_path)
    for method, path in (
        ("PUT", f"/v1/peer/incoming/{scene.uuid}"),
        ("POST", f"/v1/peer/messages/{scene.uuid}"),
        ("POST", f"/v1/peer/settled/{scene.uuid}/m"),
        ("GET", f"/v1/peer/claims/{scene.uuid}"),
        ("POST", "/v1/peer/storage"),
    ):
        status, _ = speak(scene, scene.owner(), pair, method, path, {})
        assert status == HTTPStatus.FORBIDDEN, path
    scene.demand_calm()


def test_a_host_that_has_no_part_in_it_changes_nothing(scene: Scene) -> None:
    """Every word of the handoff, at every epoch that could matter, and a placement in another's name."""
    owner = scene.owner()
    before = scene.shown(owner)
    assert before is not None
    authority = pki.ensure_authority(scene.lab.places.pki)
    stranger = pki.ensure_host(authority, scene.lab.places.pki, "host3", nodes.parse("host3").address)
    for shape in MESSAGES.values():
        for epoch in (before["epoch"] - 1, before["epoch"], before["epoch"] + 1):
            word = pack(dataclasses.replace(shape(0, "m"), epoch=epoch))
            path = f"/v1/peer/messages/{scene.uuid}"
            status, _ = speak(scene, owner, stranger, "POST", path, {"messages": [word]})
            assert status == HTTPStatus.OK
    other = next(host for host in scene.hosts if host not in {owner, "host3"})
    placement = {"guest": before["spec"], "epoch": 99, "migration": "m", "source": owner, "tunnel_id": 1}
    path = f"/v1/peer/incoming/{scene.uuid}"
    status, answer = speak(scene, other, stranger, "PUT", path, placement)
    assert status == HTTPStatus.FORBIDDEN
    assert f"host3 speaks for {owner}" in answer
    assert scene.shown(owner) == before
    scene.demand_calm()


def test_words_that_are_none(scene: Scene) -> None:
    authority = pki.ensure_authority(scene.lab.places.pki)
    host = pki.ensure_host(authority, scene.lab.places.pki, "host3", nodes.parse("host3").address)
    path = f"/v1/peer/messages/{scene.uuid}"
    bodies: tuple[object, ...] = ({"messages": [{"kind": "murder"}]}, {"messages": 1}, [], {"messages": [{}]})
    for body in bodies:
        status, answer = speak(scene, scene.owner(), host, "POST", path, body)
        assert status == HTTPStatus.BAD_REQUEST, answer
        assert "not understood" in answer
    for wish in ({}, {"to": 1}, {"to": "host2", "limits": {"blackout_s": "soon"}}):
        with pytest.raises(Refused, match="not understood"):
            scene.call(scene.owner(), "POST", f"/guests/{GUEST}/migrations", wish)
    scene.demand_calm()
