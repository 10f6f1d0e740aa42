"""Where the files of an application lie on its host. It makes none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.model.application import Volume

CGROUPS: Final = Path("/sys/fs/cgroup")
CGROUP: Final = "segue-apps"
NETNS: Final = Path("/run/netns")


@dataclass(frozen=True)
class AppPlaces:
    """`run`: what a restart of the host empties. `state`: what stays, and moves with the application."""

    name: str
    run: Path
    state: Path

    @property
    def bundle(self) -> Path:
        """What the runtime is given: configuration and root file system; made anew for each start."""
        return self.run / "apps" / self.name

    @property
    def config(self) -> Path:
        """The runtime's configuration."""
        return self.bundle / "config.json"

    @property
    def rootfs(self) -> Path:
        """Where the overlay of image and own files is mounted."""
        return self.bundle / "rootfs"

    @property
    def pid(self) -> Path:
        """Written by the runtime: the container's first process."""
        return self.bundle / "pid"

    @property
    def warden(self) -> Path:
        """Written by the warden once the container is there, see `warden.py`."""
        return self.bundle / "warden.json"

    @property
    def lock(self) -> Path:
        """Held by the warden for as long as it lives."""
        return self.bundle / "warden.lock"

    @property
    def exit(self) -> Path:
        """Written by the warden when the container's first process has ended."""
        return self.bundle / "exit.json"

    @property
    def runtime_log(self) -> Path:
        """What the runtime had to say."""
        return self.bundle / "crun.log"

    @property
    def crun(self) -> Path:
        """The runtime's own notes of all containers of this host."""
        return self.run / "crun"

    @property
    def folder(self) -> Path:
        """All that stays."""
        return self.state / self.name

    @property
    def upper(self) -> Path:
        """What the application wrote to its root file system."""
        return self.folder / "upper"

    @property
    def work(self) -> Path:
        """The overlay's own; on the same file system as `upper`."""
        return self.folder / "work"

    @property
    def logs(self) -> Path:
        """What it wrote to its standard output and error."""
        return self.folder / "log"

    def volume(self, volume: Volume) -> Path:
        """The host's folder that the application sees at the volume's path."""
        return Path(volume.source) if volume.source else self.folder / "volumes" / volume.id

    @property
    def cgroup(self) -> Path:
        """Nothing of the application runs outside of it."""
        return CGROUPS / CGROUP / self.name

    @property
    def netns(self) -> Path:
        """Its network."""
        return NETNS / f"sg-{self.name}"


def images(state: Path) -> Path:
    """The host's store of images. No application can have this name."""
    return state / ".images"
