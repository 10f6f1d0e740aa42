"""What a guest sees of a disk is told from where its data lies, however the file is laid out."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.adapters.storage.content import NOTHING, Extent, digests
from segue.model.integrity import DISK_BLOCK_BYTES as BLOCK_BYTES
from tests.thorough import examples

CLUSTER = 1 << 16
CLUSTERS = 40
SIZE_BYTES = CLUSTER * CLUSTERS - 512


def laid_out(path: Path, content: dict[int, int], order: list[int]) -> list[Extent]:
    """A file that holds the clusters in this order, as an image format may; content: cluster -> its byte."""
    extents = []
    with path.open("wb") as file:
        for cluster in order:
            offset = file.tell()
            file.write(bytes([content[cluster]]) * CLUSTER)
            extents.append(Extent(cluster * CLUSTER, CLUSTER, 0, True, offset))
    below = [Extent(n * CLUSTER, CLUSTER, 1, True, 0) for n in range(CLUSTERS) if n not in content]
    return sorted((*extents, *below), key=lambda extent: extent.start)


contents = st.dictionaries(st.integers(0, CLUSTERS - 2), st.integers(0, 3), max_size=CLUSTERS - 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30))
@given(contents, st.randoms())
def test_the_layout_does_not_matter(tmp_path: Path, content: dict[int, int], shuffle: object) -> None:
    order = list(content)
    one = digests(tmp_path / "one", laid_out(tmp_path / "one", content, order), SIZE_BYTES)
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    other = digests(tmp_path / "other", laid_out(tmp_path / "other", content, order), SIZE_BYTES)
    assert one == other
    assert len(one) == -(-SIZE_BYTES // BLOCK_BYTES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30))
@given(contents, st.integers(0, CLUSTERS - 2))
def test_one_wrong_cluster_shows_in_its_block_alone(tmp_path: Path, content: dict[int, int], at: int) -> None:
    right = digests(tmp_path / "a", laid_out(tmp_path / "a", content, list(content)), SIZE_BYTES)
    broken = {**content, at: 9}
    wrong = digests(tmp_path / "b", laid_out(tmp_path / "b", broken, list(broken)), SIZE_BYTES)
    differ = [n for n, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
    assert differ == [at * CLUSTER // BLOCK_BYTES]


def test_zeros_equal_a_hole(tmp_path: Path) -> None:
    zeros = digests(tmp_path / "zeros", laid_out(tmp_path / "zeros", {3: 0}, [3]), SIZE_BYTES)
    assert set(zeros) == {NOTHING}
