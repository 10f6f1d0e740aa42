"""Changes of labels and taints as people write them."""

from __future__ import annotations

import pytest

from segue.cli import labels
from segue.errors import Refused


def test_set_and_taken_away() -> None:
    assert labels.labels(["rack=r7", "feed-"]) == {"rack": "r7", "feed": None}
    assert labels.taints(["lab", "old:soft", "gone-", "gone2:soft-"]) == {
        "lab": True,
        "old": False,
        "gone": None,
        "gone2": None,
    }
    assert labels.choices(["rack=r1,r2", "disk-"]) == {"rack": ["r1", "r2"], "disk": None}


@pytest.mark.parametrize("text", ["rack", "rack=", "=r1", "-"])
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(Refused):
        labels.labels([text])


@pytest.mark.parametrize("text", ["", "-", "a=b", ":soft"])
def test_what_is_no_taint(text: str) -> None:
    with pytest.raises(Refused):
        labels.taints([text])
