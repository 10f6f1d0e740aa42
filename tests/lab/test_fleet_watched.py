"""A migration that a controller asked for, seen from outside: one trace over three services, figures, log lines."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from segue.cli.fleet import Host
from segue.lab.api import Lab
from segue.model.metrics import AGENT
from tests import otlp
from tests.lab.client import Client
from tests.lab.moves import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
HOSTS: Final = ("host1", "host2")
GUEST: Final = "g1"
ADDRESS: Final = "10.77.100.1"
CONTEXT: Final = "/etc/segue/fleet.toml"
FOLDER: Final = "/etc/segue/controller"
SEVERAL: Final = frozenset({"segue_doctor_findings", "segue_doctor_timestamp_seconds", "segue_guest_down"})
"""Without a sample as long as nothing of the kind is there."""


class Watched:
    """Two hosts that joined, a controller, and a collector of spans on the client's machine."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.address = lab.exec("client1", ["hostname", "-I"], check=True).stdout.split()[0]
        self.url = f"https://{self.address}:7440"
        self.traces = f"http://{self.address}:4318/v1/traces"
        self._spans = lab.places.top / "spans"
        self.collector: subprocess.Popen[Any] | None = None
        self.collect()
        self._controller()
        for host in HOSTS:
            self._join(host)
        wait_until(lambda: self.status()["hosts_up"] == len(HOSTS), "all hosts are connected")

    def collect(self) -> None:
        script = Path(otlp.__file__).read_text()
        argv = ["python3", "-c", script, self.address, "4318"]
        self.collector = self.lab.popen("client1", argv, stdout=self._spans.open("ab"))

    def _controller(self) -> None:
        for name in ("ca.pem", "ca.key"):
            text = (self.lab.places.pki / name).read_text()
            self.sh("client1", f"umask 077; mkdir -p /root/ca; printf %s '{text}' > /root/ca/{name}")
        ca = ["--ca", "/root/ca/ca.pem", "--ca-key", "/root/ca/ca.key"]
        self.lab.exec("client1", ["segue", "controller", "init", "--dir", FOLDER, *ca], check=True)
        tls = "\n".join(f'{key} = "{FOLDER}/{file}"' for key, file in
                        (("ca", "ca.pem"), ("cert", "admin.pem"), ("key", "admin.key")))  # fmt: skip
        self.sh("client1", f"printf %s '[controller]\nurls = [\"{self.url}\"]\n[tls]\n{tls}\n' > {CONTEXT}")
        argv = ["segue", "controller", "run", "--dir", FOLDER, "--store", "sqlite:////root/fleet.db"]
        argv += ["--name", "c1", "--traces", self.traces, "--logs", "json"]
        log = (self.lab.places.top / "c1.log").open("ab")
        self.lab.popen("client1", argv, stdout=log, stderr=log)
        wait_until(lambda: self.status()["leader"], "the controller leads")

    def _join(self, host: str) -> None:
        token = self.segue("token", "create", "--host", host).strip()
        more = f'traces_url = "{self.traces}"\\nmetrics_address = "127.0.0.1:9744"'
        self.sh(host, f"sed -i '1i {more}' /etc/segue/agent.toml")
        self.sh(
            host, "sed -i 's/segue agent --config/segue agent --logs json --config/' /etc/sv/segue-agent/run"
        )
        self.lab.exec(host, ["segue", "agent", "join", token, "--controller", self.url], check=True)
        self.restart(host)

    def restart(self, host: str) -> None:
        self.lab.exec(host, ["sv", "-w", "20", "restart", "segue-agent"], check=True)

    def sh(self, machine: str, text: str) -> str:
        return self.lab.exec(machine, ["sh", "-ec", text], check=True).stdout

    def segue(self, *words: str) -> str:
        argv = ["env", f"SEGUE_CONTEXT={CONTEXT}", "segue", *words]
        done = self.lab.exec("client1", argv, timeout=100)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def status(self) -> dict[str, Any]:
        done = self.lab.exec("client1", ["env", f"SEGUE_CONTEXT={CONTEXT}", "segue", "status", "-o", "json"])
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {"leader": "", "hosts_up": 0}

    def agent(self, host: str) -> Host:
        return Host(host, f"unix://{self.lab.agent_socket(host)}")

    def arm(self, host: str, line: str) -> None:
        (self.lab.agent_socket(host).parent / "failpoints").write_text(line + "\n")

    def spans(self, trace: str) -> list[dict[str, Any]]:
        """All that came of that trace, with the service that sent each."""
        found = []
        for line in self._spans.read_text().splitlines():
            request = ExportTraceServiceRequest.FromString(base64.b64decode(line))
            for told in request.resource_spans:
                names = {pair.key: pair.value.string_value for pair in told.resource.attributes}
                for scope in told.scope_spans:
                    found += [
                        {
                            "service": f"{names['service.name']} {names['service.instance.id']}",
                            "name": span.name,
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "began_s": span.start_time_unix_nano / 1e9,
                            "ended_s": span.end_time_unix_nano / 1e9,
                            "failed": span.status.code == 2,
                        }
                        for span in scope.spans
                        if span.trace_id.hex() == trace
                    ]
        return found

    def log(self, host: str) -> list[dict[str, Any]]:
        """What the agent wrote as JSON; the supervisor puts a time before each line."""
        text = self.sh(host, "cat /var/log/segue/agent/current")
        return [json.loads(line[line.index("{") :]) for line in text.splitlines() if '{"' in line]


@pytest.fixture(scope="module")
def watched(labs_folder: object) -> Iterator[Watched]:
    made = Lab(os.environ.get("SEGUE_TEST_LAB", f"w{os.getpid()}"))
    made.up(hosts=2, clients=1)
    made.wait_for_agents()
    try:
        fleet = Watched(made)
        wish = {"name": GUEST, "image": "micro", "memory_bytes": 144 << 20, "address": f"{ADDRESS}/16"}
        fleet.agent("host1").call("POST", "/guests", wish)
        client = Client(made, ADDRESS)
        wait_until(client.answered, "the guest answers")
        client.close()
        wait_until(lambda: fleet.status()["guests"] == 1, "the guest is reported")
        yield fleet
    finally:
        made.down()


def move(watched: Watched) -> dict[str, Any]:
    """To the other host, by the controller; the record."""
    watched.segue("migrate", GUEST, "--max-blackout", "5s")
    records = [m for host in HOSTS for m in watched.agent(host).call("GET", "/migrations")]
    return dict(max(records, key=lambda record: record["started_s"]))


def told(watched: Watched, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Its spans, once all three services have sent theirs."""
    trace = record["trace"]["id"]
    wait_until(lambda: len({s["service"] for s in watched.spans(trace)}) == 3, "three services tell it")
    return watched.spans(trace)


def one(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [span for span in spans if span["name"] == name]
    return found


def test_a_migration_is_one_trace_over_three_services(watched: Watched) -> None:
    record = move(watched)
    spans = told(watched, record)
    ids = [span["id"] for span in spans]
    assert len(ids) == len(set(ids))
    assert [span["name"] for span in spans if span["parent"] not in ids] == ["move"], "one root, no orphans"
    root, migrate, taken = (one(spans, name) for name in ("move", "migrate", "take in"))
    assert root["parent"] == ""
    assert root["service"] == "segue-controller c1"
    assert (migrate["parent"], migrate["service"]) == (root["id"], "segue-agent host1")
    assert (taken["parent"], taken["service"]) == (migrate["id"], "segue-agent host2")
    assert one(spans, "land and resume")["parent"] == taken["id"]
    assert one(spans, "blackout")["parent"] == one(spans, "hand off")["id"]
    for step in ("reserve target", "copy memory"):
        assert one(spans, step)["parent"] == one(spans, "preparation")["id"]
    assert one(spans, "retire source")["parent"] == one(spans, "post-blackout")["id"]
    blackout = one(spans, "blackout")
    measured_s = record["outcome"]["blackout_s"]
    assert blackout["ended_s"] - blackout["began_s"] == pytest.approx(measured_s, abs=1e-5)
    assert root["began_s"] <= migrate["began_s"] <= migrate["ended_s"] <= root["ended_s"]
    assert not any(span["failed"] for span in spans)


def page(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_its_figures_are_on_the_agents_page_for_those_who_may_read(watched: Watched) -> None:
    plain = watched.sh("host1", "python3 -c \"import urllib.request as r; "
                       "print(r.urlopen('http://127.0.0.1:9744/metrics').read().decode())\"")  # fmt: skip
    families = {
        f"{f.name}_total" if f.type == "counter" else f.name for f in text_string_to_metric_families(plain)
    }
    assert {name for name in families if name.startswith("segue_")} == {metric.name for metric in AGENT}
    found = page(plain)
    done = ("segue_migrations_total", (("kind", "vm"), ("reason", ""), ("result", "done")))
    assert found[done] == 1
    record = watched.agent("host1").call("GET", "/migrations")[0]
    assert found["segue_migration_blackout_seconds_count", ()] == 1
    assert found["segue_migration_blackout_seconds_sum", ()] == pytest.approx(record["outcome"]["blackout_s"])
    sent = ("segue_migration_bytes_total", (("channel", "memory"), ("dir", "out")))
    assert found[sent] == record["outcome"]["transferred_bytes"] > 1 << 20
    assert found["segue_guests", (("state", "running"),)] == 0
    names = {name.rsplit("_", 1)[0] if name.rsplit("_", 1)[-1] in {"bucket", "count", "sum"} else name
             for name, _ in found}  # fmt: skip
    moving = {metric.name for metric in AGENT if metric.labels == ("vm",)}
    assert {metric.name for metric in AGENT} - names - {n for n, _ in found} <= SEVERAL | moving | {
        "segue_migration_outage_seconds",
        "segue_probe_losses_total",
    }
    as_operator = fetch(watched, "operator")
    assert done in page(as_operator)
    assert "is a host" in fetch(watched, "host"), "another host has no business here"


def fetch(watched: Watched, who: str) -> str:
    """The page of host1's agent over TLS, as seen from host2 with one of the certificates there."""
    script = (
        "import ssl, http.client as h; c = ssl.create_default_context(cafile='/etc/segue/pki/ca.pem'); "
        f"c.load_cert_chain('/etc/segue/pki/{who}.pem', '/etc/segue/pki/{who}.key'); "
        "k = h.HTTPSConnection('host1', 7443, context=c); k.request('GET', '/metrics'); "
        "print(k.getresponse().read().decode())"
    )
    return watched.lab.exec("host2", ["python3", "-c", script], check=True).stdout


def test_every_line_about_it_bears_its_id_and_trace(watched: Watched) -> None:
    record = watched.agent("host1").call("GET", "/migrations")[0]
    for host in HOSTS:
        lines = [line for line in watched.log(host) if line.get("migration") == record["id"]]
        assert lines, host
        for line in lines:
            assert (line["trace"], line["guest"], line["host"]) == (record["trace"]["id"], GUEST, host), line
    controllers = (watched.lab.places.top / "c1.log").read_text().splitlines()
    begun = [json.loads(line) for line in controllers if record["id"] in line]
    assert [(line["event"], line["trace"]) for line in begun] == [
        ("a migration was begun", record["trace"]["id"])
    ]
    assert begun[0]["task"]


def test_a_restarted_agent_goes_on_with_the_same_trace(watched: Watched) -> None:
    """The source's agent dies in the copy; the target's while it waits for the rest."""
    watched.arm("host2", "begun copy memory=kill")
    watched.arm("host1", "after incoming=kill")
    record = move(watched)
    assert (record["source"], record["stage"]) == ("host2", "done"), record["failure"]
    spans = told(watched, record)
    assert one(spans, "migrate")["service"] == "segue-agent host2"
    assert one(spans, "take in")["parent"] == one(spans, "migrate")["id"]
    copies = sorted((s for s in spans if s["name"] == "copy memory"), key=lambda span: span["began_s"])
    assert [span["failed"] for span in copies] == [True, False]
    assert len({span["id"] for span in spans}) == len(spans)


def test_without_its_collector_a_migration_is_as_before(watched: Watched) -> None:
    assert watched.collector is not None
    watched.collector.kill()
    watched.collector.wait()
    record = move(watched)
    assert record["stage"] == "done"

    def failed() -> float:
        text = watched.sh("host1", "python3 -c \"import urllib.request as r; "
                          "print(r.urlopen('http://127.0.0.1:9744/metrics').read().decode())\"")  # fmt: skip
        return page(text).get(("segue_trace_spans_total", (("result", "failed"),)), 0.0)

    wait_until(lambda: failed() > 5, "the lost spans are counted")
