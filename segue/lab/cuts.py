"""Black holes between machines: frames vanish in the fabric while every cable keeps its carrier."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.lab import nodes
from segue.lab.nodes import Role

TABLE: Final = {"family": "bridge", "name": "segue_cuts"}
CHAIN: Final = {"family": "bridge", "table": "segue_cuts", "name": "forward"}
COMMAND: Final = ("nft", "-j", "-f", "-")
ORDER: Final = (Role.HOST, Role.CONTROLLER, Role.ETCD, Role.CLIENT, Role.FABRIC)
LIST: Final = ("nft", "-j", "list", "table", "bridge", "segue_cuts")


def parse(text: str) -> str:
    """A cut in its one spelling: `host1`, or `host1--host2` with the ends in order."""
    ends = text.split("--")
    if len(ends) > 2 or (len(ends) == 2 and ends[0] == ends[1]):
        raise Refused(
            what=f"cannot cut {text}",
            why="a cut is one machine, or two different ones",
            todo="Write `host1` or `host1--host2`.",
            kind=Kind.USAGE,
        )
    found = sorted((nodes.parse(end) for end in ends), key=lambda node: (ORDER.index(node.role), node.number))
    if nodes.FABRIC in found:
        raise Refused(
            what="cannot cut the fabric",
            why="it is the cable, not a machine at its end",
            todo="Name the machines at its ends.",
            kind=Kind.USAGE,
        )
    return "--".join(node.name for node in found)


def touching(cuts: Iterable[str], name: str) -> list[str]:
    """The cuts that take something from this machine."""
    return [cut for cut in cuts if name in cut.split("--")]


def ruleset(cuts: Sequence[str]) -> str:
    """The whole table for nft: one transaction, so that no frame passes between an old and a new rule."""
    commands: list[dict[str, Any]] = [{"add": {"table": TABLE}}, {"delete": {"table": TABLE}}]
    if cuts:
        hook = {**CHAIN, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
        commands += [{"add": {"table": TABLE}}, {"add": {"chain": hook}}]
    for cut in cuts:
        commands += [{"add": {"rule": rule}} for rule in _rules(cut)]
    return json.dumps({"nftables": commands})


def _rules(cut: str) -> list[dict[str, Any]]:
    first, _, second = cut.partition("--")
    if second:
        pairs = [{"iifname": first, "oifname": second}, {"iifname": second, "oifname": first}]
    else:
        pairs = [{"iifname": first}, {"oifname": first}]
    return [
        {
            "family": "bridge",
            "table": TABLE["name"],
            "chain": CHAIN["name"],
            "comment": cut,
            "expr": [*(_is(key, port) for key, port in pair.items()), {"counter": None}, {"drop": None}],
        }
        for pair in pairs
    ]


def _is(key: str, port: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": port}}


def swallowed(listing: str) -> dict[str, int]:
    """Frames lost in each cut so far, from `nft -j list table bridge segue_cuts`."""
    lost: dict[str, int] = {}
    for item in json.loads(listing or "{}").get("nftables", []):
        rule = item.get("rule", {})
        for expression in rule.get("expr", []):
            if "counter" in expression:
                cut = str(rule["comment"])
                lost[cut] = lost.get(cut, 0) + int(expression["counter"]["packets"])
    return lost


def impossible(said: str) -> Refused:
    """nft or the kernel refused the table."""
    return Refused(
        what="cannot cut or mend a link of the lab",
        why=f"the kernel filters no bridged frames: {' '.join(said.split())[:200]}",
        todo="Use a kernel with CONFIG_NF_TABLES_BRIDGE.",
    )
