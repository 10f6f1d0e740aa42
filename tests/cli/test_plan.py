"""`segue plan` on files: what it prints, its exit codes, and what it says of files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from segue.cli import fleet_file, plan
from segue.errors import Refused

FLEET = """
failure_domains: [rack]
hosts:
  - {name: h1, memory: 32GiB, cpus: 8, link: 10gbit, labels: {rack: r1}, cpu_features: [avx2]}
  - {name: h2, memory: 32GiB, cpus: 8, link: 10gbit, labels: {rack: r1}}
  - {name: h3, memory: 32GiB, cpus: 8, link: 10gbit, labels: {rack: r2}, cpu_features: [avx2]}
  - {name: h4, memory: 4GiB, cpus: 8, link: 1gbit, labels: {rack: r2}, taints: ["old:soft"]}
guests:
  - {name: web1, host: h1, memory: 8GiB, vcpus: 2, labels: {app: web}, load: {cpu: 3}}
  - {name: web2, host: h1, memory: 8GiB, vcpus: 2, labels: {app: web}, load: {cpu: 3}}
  - {name: fast, host: h2, memory: 6GiB, cpu_features: [avx512f]}
rules:
  - {name: apart, apart: {app: web}}
"""


def run(tmp_path: Path, *words: str, text: str = FLEET) -> tuple[int, str, str]:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    found = CliRunner().invoke(plan.app, [*words, "--fleet", str(path)])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


def data(tmp_path: Path, *words: str, code: int = 0) -> Any:
    found, out, _ = run(tmp_path, *words, "-o", "json")
    assert found == code
    return json.loads(out)


def test_a_running_guest_is_moved_and_a_new_one_is_started(tmp_path: Path) -> None:
    moved = data(tmp_path, "place", "web2")
    assert moved["host"] in {"h2", "h3"}
    assert moved["outlook"]["total_s"] > 0
    assert moved["refused"]["h4"] == ["4.0 GiB short of memory"]
    new = data(tmp_path, "place", "web3", "--memory", "4GiB", "--label", "app=web")
    assert new["outlook"] is None
    assert new["refused"]["h1"] == ["rule apart: 2 of its group in host h1"]


def test_where_there_is_no_host_every_host_says_why(tmp_path: Path) -> None:
    found = data(tmp_path, "place", "fast", code=4)
    assert found["refused"] == {
        "h1": ["lacks avx512f"],
        "h2": ["it is there already"],
        "h3": ["lacks avx512f"],
        "h4": ["2.0 GiB short of memory"],
    }
    code, out, err = run(tmp_path, "place", "huge", "--memory", "40GiB")
    assert code == 4
    assert "8.0 GiB short of memory" in out
    assert "No host takes huge" in err


def test_a_rack_is_emptied_or_it_is_said_who_stays(tmp_path: Path) -> None:
    made = data(tmp_path, "drain", "--domain", "rack=r2")
    assert made["waves"] == []
    made = data(tmp_path, "drain", "h1")
    assert {move["guest"] for wave in made["waves"] for move in wave["moves"]} == {"web1", "web2"}
    made = data(tmp_path, "drain", "--domain", "rack=r1", code=1)
    assert "h3: lacks avx512f" in made["staying"]["fast"]


def test_a_broken_rule_is_mended_and_said(tmp_path: Path) -> None:
    made = data(tmp_path, "balance")
    moves = [move for wave in made["plan"]["waves"] for move in wave["moves"]]
    assert any(move["why"].startswith("mends: rule apart") for move in moves)
    assert made["after"] < made["before"]
    _, out, err = run(tmp_path, "balance")
    assert "mends: rule apart: 2 of its group in host h1" in " ".join(out.split())
    assert f"Imbalance {made['before']:.4f}, then {made['after']:.4f}." in err


def test_the_audit_names_hosts_and_racks(tmp_path: Path) -> None:
    found = data(tmp_path, "audit", code=1)
    assert [(each["label"], each["value"]) for each in found] == [
        *(("host", f"h{n}") for n in range(1, 5)),
        ("rack", "r1"),
        ("rack", "r2"),
    ]
    failing = data(tmp_path, "audit", "--failing", code=1)
    assert [each["value"] for each in failing] == [each["value"] for each in found if each["staying"]]
    assert "fast" in failing[-1]["staying"]


def test_json_and_yaml_are_the_same(tmp_path: Path) -> None:
    as_json = tmp_path / "fleet.json"
    as_json.write_text(json.dumps(yaml.safe_load(FLEET)))
    as_yaml = tmp_path / "fleet.yaml"
    as_yaml.write_text(FLEET)
    assert fleet_file.load(str(as_json)) == fleet_file.load(str(as_yaml))


WRONG = {
    "hosts: [{name: h1, memory: 1GiB, cpus: 1, colour: red}]": "unknown field `colour`",
    "hosts: [{name: h1, cpus: 1}]": "`memory` is missing - at `$.hosts[0]`",
    "hosts: [{name: h1, memory: much, cpus: 1}]": "'much' was not understood",
    "hosts: [{name: h1, memory: 1GiB, cpus: many}]": "Expected `float`, got `str` - at `$.hosts[0].cpus`",
    "hosts: [{name: h1, memory: 1GiB, cpus: .nan}]": "its cpus is nan",
    "hosts: [{name: h1, memory: 1GiB, cpus: .inf}]": "its cpus is inf",
    "hosts: [{name: h1, memory: -5, cpus: 1}]": "its memory is -5",
    "hosts: [": "while parsing",
    "{": "truncated",
    "": "Expected `object`, got `null`",
    "hosts: []": "there are no hosts",
    "hosts: [{name: h1, memory: 1, cpus: 1}]\nrules: [{name: r}]": "has to say either `apart` or `together`",
    "hosts: [{name: h1, memory: 1, cpus: 1}]\nuplinks: [{domain: rack, speed: 1gbit}]": "not a label with its value",
    "hosts: [{name: h1, memory: 1, cpus: 1}]\nguests: [{name: g, memory: 1, host: h2}]": "there is no such host",
    "hosts: [{name: h1, memory: 1, cpus: 1}]\ndomains: [{domain: a=1, within: {a: '1'}}]": "a=1, which is within a=1",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(Refused) as caught:
        fleet_file.load(str(path))
    assert WRONG[text] in f"{caught.value.what}: {caught.value.why}"
    assert caught.value.todo


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("nothing", "bytes", "."):
        with pytest.raises(Refused, match="cannot be planned for"):
            fleet_file.load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["place", "nobody"], "the file has no guest of that name"),
        (["place", "web1", "--memory", "1GiB"], "a guest of that name already"),
        (["drain"], "neither a host nor a domain"),
        (["drain", "h9"], "there is no host h9"),
        (["drain", "--domain", "rack=r9"], "no host has rack=r9"),
        (["drain", "--domain", "rack"], "not a label with its value"),
    ],
)
def test_a_wrong_wish_is_refused(tmp_path: Path, words: list[str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        run(tmp_path, *words)


def test_warnings_do_not_stop_a_plan(tmp_path: Path) -> None:
    text = FLEET + "  - {name: nobody, apart: {app: none}}\n"
    code, out, err = run(tmp_path, "balance", "-o", "json", text=text)
    assert code == 0
    assert json.loads(out)
    assert "warning: rule nobody is for nobody: no guest has app=none" in err
