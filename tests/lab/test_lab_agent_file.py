"""agent.toml is written for the agent that a host has: the file of today for today's, less for an earlier one."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

from segue.agent.config import Config
from segue.lab import agent_file, layers, nodes

EARLIER = '''
from dataclasses import dataclass, field

HOWEVER: int = 1

@dataclass(frozen=True)
class Tls:
    networks: str

@dataclass(frozen=True)
class Config:
    """What one agent is told."""
    name: str
    tls: Tls
    peers: dict[str, str] = field(default_factory=dict)

    def networks(self) -> None: ...
'''


def layer(folder: Path, code: str) -> Path:
    """A file system with an agent whose configuration is this."""
    file = folder / agent_file.CODE
    file.parent.mkdir(parents=True)
    file.write_text(code)
    return folder


def keys(*file_system: Path) -> set[str]:
    """Of the file that this host gets."""
    hosts = nodes.hosts(2)
    return set(tomllib.loads(agent_file.text(hosts[0], hosts, file_system)))


def test_todays_agent_gets_all_of_it_and_takes_it(tmp_path: Path) -> None:
    ours = (layers.package() / "agent" / "config.py").read_text()
    found = keys(tmp_path / "empty", layer(tmp_path / "ours", ours))
    assert {"networks", "tls", "peers", "failpoints"} <= found <= {field.name for field in fields(Config)}


def test_an_earlier_agent_gets_what_it_knows(tmp_path: Path) -> None:
    assert keys(layer(tmp_path, EARLIER)) == {"name", "tls", "peers"}


def test_the_topmost_layer_says_which_agent_it_is(tmp_path: Path) -> None:
    ours = (layers.package() / "agent" / "config.py").read_text()
    assert "networks" not in keys(layer(tmp_path / "upper", EARLIER), layer(tmp_path / "lower", ours))


def test_an_agent_that_does_not_say_what_it_knows_gets_all(tmp_path: Path) -> None:
    assert "networks" in keys(layer(tmp_path, "Config = dict"))
