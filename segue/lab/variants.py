"""Hosts of a lab that differ from the others: an agent of another version, or the newest QEMU that Debian offers.

So a fleet that is half updated can be tried before it is real. A host without an entry is as all others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segue.errors import Kind, Refused
from segue.lab import cachefill, layers, nodes, rootfs
from segue.lab.nodes import Node, Role

Lower = Callable[[Node], Sequence[Path]]
"""The layers of a machine, topmost first, as overlayfs wants them."""
USUAL = "usual"
"""The word that makes a host like all others again."""


@dataclass(frozen=True)
class Variants:
    """`agents`: host -> folder with the package `segue`; `qemus`: host -> a name of rootfs.QEMUS."""

    agents: Mapping[str, str] = field(default_factory=dict)
    qemus: Mapping[str, str] = field(default_factory=dict)


ALL_ALIKE = Variants()


def parse(agents: Sequence[str], qemus: Sequence[str]) -> Variants:
    """From options as they are typed: host2=/srv/segue-0.1, host2=newest. Raises Refused."""
    chosen = Variants(dict(map(_pair, agents)), dict(map(_pair, qemus)))
    for name in {*chosen.agents, *chosen.qemus}:
        if nodes.parse(name).role is not Role.HOST:
            raise _refused(name, "it is no host", "Name a host: host1, host2 and so on.")
    for host, tree in chosen.agents.items():
        if tree != USUAL and not (Path(tree) / "segue" / "__init__.py").is_file():
            raise _refused(host, f"{tree} has no folder segue with a package", "Name a checkout of segue.")
    for host, qemu in chosen.qemus.items():
        if qemu != USUAL and qemu not in rootfs.QEMUS:
            known = ", ".join(name for name in rootfs.QEMUS if name)
            raise _refused(host, f"there is no QEMU {qemu}", f"Choose {known} or {USUAL}.")
    absolute = {
        host: tree if tree == USUAL else str(Path(tree).absolute()) for host, tree in chosen.agents.items()
    }
    return Variants(absolute, chosen.qemus)


def merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """What stays from before and what is asked for now."""
    return {host: what for host, what in {**old, **new}.items() if what != USUAL}


def lower(cache: Path, variants: Variants, say: cachefill.Progress, packages: Sequence[str] = ()) -> Lower:
    """Has every layer that a host of this lab stands on; says which ones a machine gets."""
    usual = _layers(cache, "", "", say, packages)
    special = {
        host: _layers(cache, variants.qemus.get(host, ""), variants.agents.get(host, ""), say, packages)
        for host in {*variants.agents, *variants.qemus}
    }
    return lambda node: special.get(node.name, usual)


def current(cache: Path, variants: Variants, node: Node) -> Path:
    """Where the layer of the code that this machine should run lies, or would lie."""
    base = rootfs.folder(cache, qemu=variants.qemus.get(node.name, ""))
    return layers.current_segue(cache, base, variants.agents.get(node.name, ""))


def _layers(
    cache: Path, qemu: str, agent: str, say: cachefill.Progress, packages: Sequence[str]
) -> list[Path]:
    base = rootfs.ensure(cache, say, packages, qemu)
    dependencies = layers.ensure_dependencies(cache, base, say, agent)
    return [layers.ensure_segue(cache, base, say, agent), dependencies, base]


def _pair(text: str) -> tuple[str, str]:
    host, equals, what = text.partition("=")
    if not (host and equals and what):
        raise _refused(text, "it is not HOST=WHAT", "Write it like host2=newest.")
    return host, what


def _refused(name: str, why: str, todo: str) -> Refused:
    return Refused(what=f"cannot make {name} differ from the others", why=why, todo=todo, kind=Kind.USAGE)
