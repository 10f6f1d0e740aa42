"""The words of the handoff come back as they were sent, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.errors import Refused
from segue.model.handoff import MESSAGES
from segue.wire.messages import Delivery, pack, unpack

words = st.sampled_from(sorted(MESSAGES)).flatmap(
    lambda name: st.builds(MESSAGES[name], epoch=st.integers(0, 1 << 60), migration=st.text(max_size=40))
)


@given(words)
def test_a_word_survives_the_wire(word: Any) -> None:
    sent = msgspec.json.encode(Delivery(messages=(pack(word),)))
    received = msgspec.json.decode(sent, type=Delivery)
    assert unpack(received.messages[0]) == word


@pytest.mark.parametrize(
    "frame",
    [{}, {"kind": "grant"}, {"kind": "kill", "epoch": 1, "migration": "m"}, {"kind": "ask", "epoch": "x"}],
)
def test_what_is_no_word_is_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        unpack(frame)
