"""What cannot be meant by an application that is asked for, is refused with all that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.agent import apps
from segue.errors import Refused
from segue.model.application import Volume
from segue.wire.apps import RunApp, VolumeWish
from segue.wire.frames import NicWish


def wrong(wish: RunApp) -> str:
    with pytest.raises(Refused) as found:
        apps.check(wish)
    return found.value.why


def test_what_can_be_meant(tmp_path: Path) -> None:
    apps.check(RunApp("cache1", "redis"))
    volumes = (VolumeWish("/data"), VolumeWish("/words", str(tmp_path), read_only=True))
    apps.check(
        RunApp("a", "sha256:00", cpus=0.5, env=("A=", "B=x=y\nz"), gateway="10.0.0.1", volumes=volumes)
    )


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (RunApp("Cache", "redis"), "is no name"),
        (RunApp(".images", "redis"), "is no name"),
        (RunApp("a", "redis", memory_bytes=1 << 20), "between 4 MiB"),
        (RunApp("a", "redis", cpus=-1), "number of processors"),
        (RunApp("a", "redis", env=("X",)), "no variable"),
        (RunApp("a", "redis", args=("a\0b",)), "zero byte"),
        (RunApp("a", "redis", gateway="router"), "no address of a gateway"),
        (RunApp("a", "redis", volumes=(VolumeWish("data"),)), "absolute path"),
        (RunApp("a", "redis", volumes=(VolumeWish("/proc"),)), "cannot be at"),
        (RunApp("a", "redis", volumes=(VolumeWish("/a/../proc"),)), "cannot be at"),
        (RunApp("a", "redis", volumes=(VolumeWish("/a", "/b/../c"),)), "absolute path"),
        (RunApp("a", "redis", volumes=(VolumeWish("/a", "/nowhere/at/all"),)), "has no folder"),
        (RunApp("a", "redis", volumes=(VolumeWish("/a"), VolumeWish("/a/"))), "the same path"),
        (RunApp("a", "redis", nics=(NicWish(vlan=4095),)), "VLAN 4095"),
    ],
)
def test_what_cannot(wish: RunApp, why: str) -> None:
    assert why in wrong(wish)


def test_all_at_once() -> None:
    found = wrong(RunApp("A", "redis", cpus=-1, env=("X",)))
    assert all(part in found for part in ("no name", "processors", "no variable"))


def test_what_an_image_declares_as_a_volume_is_kept_at_home_unless_a_volume_holds_it() -> None:
    declared = ("/data", "/var/lib/db/log", "/var/lib/dbx")
    volumes = (Volume("vol0", "/var/lib/db", "/srv/x"),)
    assert apps.kept_beside(declared, volumes) == ("/data", "/var/lib/dbx")
    assert apps.kept_beside((), ()) == ()
