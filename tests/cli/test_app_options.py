"""What people write for an application: names, volumes, cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.cli import app_options
from segue.errors import Refused


@pytest.mark.parametrize(
    ("image", "path", "name"),
    [
        ("redis", None, "redis"),
        ("docker.io/library/redis:8", None, "redis"),
        ("registry.example.org:5000/team/My_App@sha256:00", None, "my-app"),
        ("", Path("/tmp/cache.v2.tar.gz"), "cache"),
    ],
)
def test_without_a_name_it_is_called_as_its_image(image: str, path: Path | None, name: str) -> None:
    assert app_options.name_of(image, path) == name


@pytest.mark.parametrize(
    ("text", "source", "path", "read_only"),
    [
        ("/data", "", "/data", False),
        ("/data:ro", "", "/data", True),
        ("/srv/data:/data", "/srv/data", "/data", False),
        ("/srv/data:/data:ro", "/srv/data", "/data", True),
        ("/srv/data:/data:rw", "/srv/data", "/data", False),
    ],
)
def test_volumes(text: str, source: str, path: str, read_only: bool) -> None:
    assert app_options.volume(text) == {"path": path, "source": source, "read_only": read_only}


@pytest.mark.parametrize("text", ["", ":", "a:b:c:d", ":/data", "/srv:"])
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="no volume"):
        app_options.volume(text)


def test_one_card_has_a_short_form() -> None:
    assert app_options.cards(None, "", "10.1.0.2/24") == {"nics": [], "address": "10.1.0.2/24"}
    assert app_options.cards(None, "blue", "10.1.0.2/24") == {
        "nics": [{"network": "blue", "address": "10.1.0.2/24"}]
    }
    with pytest.raises(Refused, match="both given"):
        app_options.cards(["network=blue"], "blue", "")
