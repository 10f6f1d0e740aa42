"""Hosts that differ are named as they are typed, and what cannot be is refused before a lab is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.errors import Kind, Refused
from segue.lab import layers, rootfs, variants
from segue.lab.nodes import parse as node


def test_what_is_typed_is_kept_and_taken_back(tmp_path: Path) -> None:
    tree = layers.package().parent
    chosen = variants.parse([f"host3={tree}"], ["host2=newest"])
    assert chosen.agents == {"host3": str(tree)}
    assert chosen.qemus == {"host2": "newest"}
    assert variants.merged({"host1": "a", "host2": "b"}, {"host2": "usual", "host3": "c"}) == {
        "host1": "a",
        "host3": "c",
    }


@pytest.mark.parametrize(
    ("agent", "qemu", "why"),
    [
        ("host2", "", "it is not HOST=WHAT"),
        ("client1=usual", "", "it is no host"),
        ("host2=/nowhere", "", "/nowhere has no folder segue"),
        ("", "host2=oldest", "there is no QEMU oldest"),
    ],
)
def test_what_cannot_be_is_refused(agent: str, qemu: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        variants.parse([agent] if agent else [], [qemu] if qemu else [])
    assert why in refused.value.why
    assert refused.value.kind is Kind.USAGE


def test_each_qemu_and_each_tree_has_layers_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "segue").mkdir()
    (tmp_path / "segue" / "__init__.py").write_text("")
    chosen = variants.Variants({"host2": str(tmp_path)}, {"host3": "newest"})
    assert len({variants.current(tmp_path, chosen, node(f"host{number}")) for number in (1, 2, 3)}) == 3
    assert len({rootfs.folder(tmp_path, qemu=qemu) for qemu in rootfs.QEMUS}) == len(rootfs.QEMUS)
