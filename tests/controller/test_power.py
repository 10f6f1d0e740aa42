"""The file of BMCs: read anew each time, and whatever is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.controller.power import Powers
from segue.errors import Refused

TEXT = '[host1]\nurl = "https://bmc1"\nuser = "segue"\npassword_file = "secret"\n'


def test_what_is_corrected_counts_at_once(tmp_path: Path) -> None:
    powers = Powers(tmp_path)
    with pytest.raises(Refused, match="no BMC is known"):
        powers.bmc("host1")
    (tmp_path / "bmc.toml").write_text(TEXT)
    with pytest.raises(Refused, match="password cannot be read"):
        powers.bmc("host1")
    (tmp_path / "secret").write_text("wrong\n")
    assert powers.bmc("host1").password == "wrong"
    (tmp_path / "secret").write_text("right\n")
    assert powers.bmc("host1").password == "right"
    assert powers.may_fence("host1")
    assert powers.hosts() == frozenset({"host1"})
    (tmp_path / "bmc.toml").write_text(TEXT + "fence = false\n")
    assert not powers.may_fence("host1")


@pytest.mark.parametrize("text", ["[host1\n", TEXT + "colour = 1\n", '[host1]\nurl = "https://bmc1"\n'])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bmc.toml").write_text(text)
    with pytest.raises(Refused, match=r"bmc\.toml"):
        Powers(tmp_path).bmc("host1")


def test_a_file_that_cannot_be_read_says_nothing_of_who_has_one(tmp_path: Path) -> None:
    assert Powers(tmp_path).hosts() == frozenset()
    (tmp_path / "bmc.toml").write_text("[host1\n")
    assert Powers(tmp_path).hosts() is None


def test_without_a_folder_no_host_is_watched() -> None:
    assert not Powers().watched
    with pytest.raises(Refused):
        Powers().of("host1")
