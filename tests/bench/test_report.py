"""The report from its samples: written, gone on with, shown and drawn."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench import cells, clock, plots, report, store, virt_domain, world
from bench.figures import Samples
from segue.model.guest import Guest, Nic
from tests.bench import samples

GUEST = Guest(
    name="web",
    uuid="9d3c2f4e-5a10-4d5b-8c11-7a4e5e6b2d01",
    memory_bytes=1 << 28,
    kernel="/k",
    cmdline="quiet a<b",
    nics=(Nic("nic0", "52:54:00:00:00:01", "br0", "10.77.100.1/16"),),
)


def some() -> Samples:
    return [
        *samples.series("idle-256m", "segue", [10.0, 12.0, 11.0]),
        *samples.series("idle-256m", "segue without TLS", [5.0, 5.5, 6.0]),
        *samples.series("idle-256m", "libvirt 10 ms", [30.0, None, 40.0]),
    ]


def test_the_summary_is_computed_from_the_samples() -> None:
    rows = {row["peer"]: row for row in report.make(some(), {})["summary"]}
    assert rows["segue"]["blackout_s"]["median"] == pytest.approx(0.011)
    assert (rows["libvirt 10 ms"]["runs"], rows["libvirt 10 ms"]["moved"]) == (3, 2)


def test_the_timeline_says_how_long_each_piece_is() -> None:
    pieces = {row["until"]: row["median_s"] for row in report.make(some(), {})["timeline"]}
    assert pieces == {"stopped": pytest.approx(0.001), "resumed": pytest.approx(0.011)}


def test_the_cost_of_tls_is_a_share() -> None:
    (row,) = report.make(some(), {})["tls"]
    assert row["blackout_s"] == pytest.approx(2.0)


def test_what_was_written_can_be_gone_on_with(tmp_path: Path) -> None:
    place = tmp_path / "bench" / "engine.json"
    assert store.load(place) == {}
    store.write(report.make(some(), {"machine": {"cpus": 2}}), place)
    again = store.load(place)
    assert again["machine"] == {"cpus": 2}
    assert store.done(again["samples"], "idle-256m")["segue"] == 3
    assert report.make(again["samples"], {})["verdicts"] == again["verdicts"]
    store.begin(place)
    assert store.load(place) == {}
    assert place.with_name(store.KEPT_AS).exists()


def test_a_report_of_another_kind_is_not_gone_on_with(tmp_path: Path) -> None:
    place = tmp_path / "engine.json"
    place.write_text(json.dumps({"samples": [{"peer": "segue"}]}))
    with pytest.raises(ValueError, match="another version"):
        store.load(place)


def test_the_tables_show_what_was_missed_and_what_did_not_move() -> None:
    text = io.StringIO()
    unlucky = samples.sample("idle-256m", "segue", 11.0, lost=1)
    report.show(report.make([*some(), unlucky], {}), Console(file=text, width=250))
    assert "2 of 3" in text.getvalue()
    assert "MISSED" in text.getvalue()


def test_the_pictures_are_drawn_with_every_move(tmp_path: Path) -> None:
    page = plots.draw(report.make(some(), {}), tmp_path)
    assert Path(page).exists()
    tree = ElementTree.parse(tmp_path / "blackout.svg")
    assert len(tree.findall(".//{*}circle")) == 8
    ElementTree.parse(tmp_path / "timeline.svg")


def test_pictures_of_nothing_are_pictures() -> None:
    ElementTree.fromstring(plots.boxes([], "blackout_s", "none"))
    ElementTree.fromstring(plots.timeline([]))


def test_the_time_left_is_learned() -> None:
    idle, over = cells.BY_NAME["idle-256m"], cells.BY_NAME["dirty150-256m"]
    left = clock.Left([])
    first = left.left_s([(idle, "segue")])
    sample = {"cell": idle.name, "peer": "segue", "total_s": 2.0}
    left.took(sample, 5.0)
    assert sample["took_s"] == 5.0
    assert left.left_s([(idle, "segue")]) == 5.0 != first
    assert left.left_s([(over, "plain 1 ms")]) > first


def test_libvirt_is_told_of_the_same_guest() -> None:
    twin = world.twin(GUEST, "virt")
    root = ElementTree.fromstring(virt_domain.describe(twin))
    assert root.findtext("memory") == str(1 << 28)
    assert root.findtext("os/cmdline") == "quiet a<b ip=10.77.100.3:::255.255.0.0:bench-virt:eth0:off"
    card = root.find("devices/interface/mac")
    assert card is not None
    assert card.get("address") == "52:54:00:be:c4:03"
