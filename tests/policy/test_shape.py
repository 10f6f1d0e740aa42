"""What a copy begins with: never what the ladder forbids, and never what QEMU cannot do together."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.ladder import LADDERS, Rung
from segue.model.migration import Forecast, Limits
from segue.policy import shape

CALM = Forecast(2.0, 1.0, 3.0, 0.02, 0.01, 0.03, 1 << 28, 1e6, 1e8, True, "measured")
forecasts = st.builds(
    lambda dirty, link, memory: replace(
        CALM, dirty_bytes_per_s=dirty, link_bytes_per_s=link, memory_bytes=memory
    ),
    st.floats(0, 1e10),
    st.floats(1e5, 1e11),
    st.integers(1, 1 << 42),
)
limits = st.builds(
    Limits,
    ladder=st.sampled_from([*LADDERS.values(), tuple(Rung), ()]),
    post_copy_after=st.integers(-1, 3),
)


@given(forecasts, limits, st.integers(1, 512))
def test_the_ladder_and_qemu_hold(foreseen: Forecast, asked: Limits, cpus: int) -> None:
    chosen = shape.choose(foreseen, asked, cpus)
    assert chosen.channels <= min(cpus, shape.CHANNELS_MOST)
    if chosen.compression:
        assert Rung.COMPRESS in asked.ladder
    elif chosen.channels:
        assert Rung.CHANNELS in asked.ladder
    assert not (chosen.post_copy and (chosen.channels or chosen.compression))
    assert chosen.post_copy is asked.post_copy
    assert chosen.throttle <= (Rung.THROTTLE in asked.ladder)


def test_a_small_calm_guest_on_a_slow_path_has_several_connections_where_there_are_processors() -> None:
    assert shape.choose(CALM, Limits(), 2).channels == 2
    assert shape.choose(CALM, Limits(), 1).channels == 0


def test_one_that_writes_much_is_compressed_where_the_path_is_slower_than_that() -> None:
    busy = replace(CALM, dirty_bytes_per_s=6e7)
    assert shape.choose(busy, Limits(), 2).compression == "zstd"
    assert (
        shape.choose(replace(busy, link_bytes_per_s=1e10, dirty_bytes_per_s=6e9), Limits(), 2).compression
        == ""
    )
