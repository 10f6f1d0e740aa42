"""What Prometheus reads from a real controller: every figure of its table, by those alone who may."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from segue.adapters.pki import Pair
from segue.model.metrics import CONTROLLER
from tests.controller.rig import Rig, free_port

RARE = {"segue_store_errors_total"}
"""Without a sample until something of the kind has happened."""
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(rig: Rig, pair: Pair | None, path: str = "/metrics", token: str = "") -> httpx2.Response:
    context = ssl.create_default_context(cafile=str(rig.folder.ca))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx2.Client(base_url=rig.urls()[0], verify=context, timeout=20.0) as client:
        return client.get(path, headers=headers)


def series(text: str) -> Series:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(found: Series, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def names(text: str) -> set[str]:
    """As the table has them; families without samples with them."""
    found = set[str]()
    for family in text_string_to_metric_families(text):
        found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return {name for name in found if name.startswith("segue_")}


async def test_every_figure_of_the_table_is_there_and_no_other(rig: Rig) -> None:
    rig.start()
    host = await rig.host("host1", {"rack": "r7"})
    await rig.host("host2")
    await rig.up(2)
    host.add("web1")
    host.add("web2", state="stopped")
    await rig.until("they are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    moved = await rig.call("POST", "/guests/web1/migrations", {"to": "host2"})
    assert (await rig.ended(moved["id"]))["state"] == "done"
    await rig.call("PATCH", "/hosts/host2", {"cordoned": True})
    viewer = rig.certificate("viewer", "prometheus")
    answer = read(rig, viewer)
    assert answer.headers["content-type"].startswith("text/plain")
    assert names(answer.text) == {metric.name for metric in CONTROLLER}
    found = series(answer.text)
    with_samples = {name for name, _ in found}
    assert_samples(with_samples, (metric.name for metric in CONTROLLER if metric.name not in RARE))
    assert value(found, "segue_leader") == 1
    assert value(found, "segue_agents_connected") == 2
    assert value(found, "segue_host_up", host="host1") == 1
    assert value(found, "segue_host_state", host="host2", state="cordoned") == 1
    assert value(found, "segue_fleet_guests", state="stopped") == 1
    assert value(found, "segue_tasks", kind="move", state="done") == 1
    assert value(found, "segue_heartbeat_age_seconds", host="host1") < 8
    assert value(found, "segue_store_op_seconds_count", op="commit", backend="sqlite") > 3
    assert value(found, "segue_store_event_lag_seconds_count", backend="sqlite") > 3
    assert value(found, "segue_certificate_expires_timestamp_seconds", certificate="own") > 1.7e9


def assert_samples(found: set[str], wanted: Iterable[str]) -> None:
    plain = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in found}
    missing = set(wanted) - plain - found
    assert not missing


async def test_a_host_that_died_is_shown_as_away(rig: Rig) -> None:
    rig.start()
    host = await rig.host("host1")
    await rig.up(1)
    await host.die()
    await rig.until("it is away", lambda: rig.caller().call("GET", "/status")["hosts_up"] == 0)
    found = series(read(rig, rig.folder.admin).text)
    assert value(found, "segue_host_up", host="host1") == 0
    assert value(found, "segue_host_state", host="host1", state="away") == 1
    assert value(found, "segue_agents_connected") == 0
    assert not [name for name, _ in found if name == "segue_heartbeat_age_seconds"]


async def test_who_may_read(rig: Rig) -> None:
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    viewer = (await rig.call("POST", "/tokens", {"role": "viewer", "name": "prometheus"}))["token"]
    assert read(rig, None, token=viewer).status_code == 200
    assert read(rig, None).status_code == 403
    assert read(rig, rig.certificate("host", "host1")).status_code == 403


async def test_a_listener_of_its_own_has_the_page_and_nothing_else(rig: Rig) -> None:
    port = free_port()
    rig.start("c1", "--metrics", f"127.0.0.1:{port}")
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as anybody:
        assert value(series(anybody.get("/metrics").text), "segue_leader") == 1
        for path in ("/", "/v1/status", "/v1/tokens", "/openapi.json", "/v1/metrics/targets"):
            assert anybody.get(path).status_code == 404, path
        assert anybody.post("/metrics").status_code == 405


async def test_prometheus_finds_the_agents(rig: Rig) -> None:
    rig.start()
    await rig.host("host1", {"rack": "r7", "power-feed": "a"})
    await rig.up(1)
    answer = read(rig, rig.certificate("viewer", "prometheus"), "/v1/metrics/targets")
    assert answer.json() == [
        {
            "targets": ["host1:7443"],
            "labels": {
                "__scheme__": "https",
                "__meta_segue_host": "host1",
                "__meta_segue_label_rack": "r7",
                "__meta_segue_label_power_feed": "a",
            },
        }
    ]
