"""A store's URL is checked whole before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.adapters.store import url
from segue.adapters.store.etcd.place import EtcdPlace
from segue.adapters.store.url import SqlitePlace
from segue.errors import Kind, Refused


def test_a_file() -> None:
    assert url.parse("sqlite:///var/lib/segue/store.db") == SqlitePlace(Path("/var/lib/segue/store.db"))


def test_members_with_and_without_ports() -> None:
    assert url.parse("etcd://a:1,b,10.0.0.3:3,[fd00::1]:4/fleets/one") == EtcdPlace(
        ("https://a:1", "https://b:2379", "https://10.0.0.3:3", "https://[fd00::1]:4"), "fleets/one"
    )
    assert url.parse("etcd+plain://a") == EtcdPlace(("http://a:2379",))


def test_all_options(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key", "password"):
        (tmp_path / name).write_text(f"{name}\n")
    at = f"etcd://a?ca={tmp_path}/ca&cert={tmp_path}/cert&key={tmp_path}/key&user=segue&password-file={tmp_path}/password"
    place = url.parse(at)
    assert isinstance(place, EtcdPlace)
    assert (place.ca, place.cert, place.key) == (tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    assert (place.user, place.password()) == ("segue", "password")
    with pytest.raises(Refused, match="certificates"):
        place.context()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "neither"),
        ("store.db", "neither"),
        ("sqlite://store.db", "neither"),
        ("sqlite:store.db", "neither"),
        ("sqlite:///a?mode=ro", "neither"),
        ("http://a", "neither"),
        ("etcd://", "host or host:port"),
        ("etcd://a,,b", "host or host:port"),
        ("etcd://a:x", "host or host:port"),
        ("etcd://a b", "host or host:port"),
        ("etcd://segue:secret@a", "password"),
        ("etcd://a/b//c", "prefix"),
        ("etcd://a/é", "prefix"),
        ("etcd://a?cacert=/x", "no option"),
        ("etcd://a?ca=", "empty"),
        ("etcd://a?ca=/x&ca=/y", "twice"),
        ("etcd://a?user=u", "go together"),
        ("etcd://a?password-file=/x", "go together"),
        ("etcd://a?cert=/x", "go together"),
        ("etcd+plain://a?ca=/x", "not encrypted"),
        ("etcd://a?ca=/not/there.pem", "not there"),
        ("etcd://a#b", "empty"),
    ],
)
def test_what_is_wrong_is_said(wrong: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        url.parse(wrong)
    assert caught.value.kind is Kind.USAGE
    assert "secret" not in str(caught.value)


def test_the_same_store_under_two_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert url.same(url.parse(f"sqlite://{tmp_path}/s.db"), url.parse(f"sqlite://{tmp_path}/link/s.db"))
    assert url.same(url.parse("etcd://a,b"), url.parse("etcd://b:2379,c/segue"))
    assert not url.same(url.parse("etcd://a"), url.parse("etcd://a/other"))
    assert not url.same(url.parse("etcd://a"), url.parse(f"sqlite://{tmp_path}/s.db"))
