"""What applications need of this host, and an application's specification from what was asked for."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pyroute2 import AsyncIPRoute

from segue.adapters import chance
from segue.adapters.criu import hook
from segue.adapters.net.cell import Cells
from segue.adapters.net.links import Links
from segue.adapters.oci import bundle, cgroup, places, seccomp, users
from segue.adapters.oci.images import Images
from segue.adapters.oci.places import AppPlaces
from segue.agent import nics
from segue.agent.config import Config
from segue.agent.networks import Networks
from segue.errors import Kind, Refused
from segue.model import guest as guests
from segue.model.application import Application, Volume
from segue.model.belongings import Engine
from segue.model.guest import Guest
from segue.wire.apps import RunApp, VolumeWish
from segue.wire.frames import CreateGuest

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=[^\0]*", re.DOTALL)
VOLUMES_MAX: Final = 32
MEMORY_BYTES: Final = range(4 << 20, (16 << 40) + 1)
TAKEN: Final = ("/", "/dev", "/proc", "/sys")


class Apps:
    """Made once at the agent's start."""

    def __init__(
        self, config: Config, netlink: AsyncIPRoute, links: Links, runtime: str, engine: Engine
    ) -> None:
        """runtime: what runs them, with its version; empty where nothing does. engine: what moves them."""
        self.engine = engine
        self._config = config
        self.images = Images(places.images(config.apps_dir))
        self.cells = Cells(netlink, links)
        self.limits = cgroup.prepare()
        self.seccomp = seccomp.profile(bundle.CAPABILITIES)
        self.missing = missing_programs()
        self.runtime = "" if self.missing else runtime

    @property
    def missing_limits(self) -> tuple[str, ...]:
        """Controllers that this host's cgroups lack: what they would limit is without a limit here."""
        return tuple(name for name in cgroup.LIMITING if name not in self.limits)

    def unlimited(self, guest: Guest) -> str:
        """What of the application's limits does not hold here, for people; empty where all do."""
        assert guest.app is not None
        asked = {"memory": "memory", "cpu": "processors" if guest.app.cpus else "", "pids": "processes"}
        found = [asked[name] for name in self.missing_limits if asked[name]]
        return f"this host does not limit its {' and '.join(found)}" if found else ""

    def places(self, guest: Guest) -> AppPlaces:
        """The application's files on this host."""
        return AppPlaces(guest.name, self._config.run_dir, self._config.apps_dir)

    def remove_files(self, guest: Guest) -> None:
        """All that a deleted application wrote. Safe to repeat."""
        shutil.rmtree(self.places(guest).folder, ignore_errors=True)
        shutil.rmtree(self._aside(guest), ignore_errors=True)

    def put_aside(self, guest: Guest) -> None:
        """What an application leaves here that lives elsewhere now: the last of it is kept, and never used again."""
        folder, aside = self.places(guest).folder, self._aside(guest)
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            folder.rename(aside)

    def _aside(self, guest: Guest) -> Path:
        return self._config.apps_dir / ".left" / guest.name

    @functools.cached_property
    def hook(self) -> Path:
        """CRIU's hook, where programs may be started."""
        return hook.install(self._config.state_dir)

    def demand_programs(self) -> None:
        """Raises Refused on a host that cannot run applications."""
        if self.missing:
            raise Refused(
                what=f"{self._config.name} runs no applications",
                why=f"it has no {', '.join(self.missing)}",
                todo=f"Install them and restart the agent: `apt-get install {' '.join(self.missing)}`.",
            )


def missing_programs() -> tuple[str, ...]:
    """What has to be installed before applications can run here."""
    return tuple(name for name in ("crun", "skopeo", "umoci") if shutil.which(name) is None)


async def specify(apps: Apps, networks: Networks, wish: RunApp) -> Guest:
    """The application that was asked for; its image is here then. Raises Refused."""
    check(wish)
    apps.demand_programs()
    digest = apps.images.known(wish.image) or await apps.images.pull(wish.image)
    cards = nics.specify(networks, _as_guest(wish))
    return guests.application(
        wish.name, chance.new_id(), wish.memory_bytes, _application(apps, wish, digest), cards
    )


def _application(apps: Apps, wish: RunApp, digest: str) -> Application:
    process, settings = apps.images.config(digest)["process"], apps.images.settings(digest)
    user = users.find(apps.images.rootfs(digest), wish.user) if wish.user else _user(process["user"])
    args = [*(settings.get("Entrypoint") or ()), *wish.args] if wish.args else process.get("args") or []
    if not args:
        raise _refused(wish.name, "its image does not say what is to run: give a command", Kind.USAGE)
    volumes = tuple(
        Volume(f"vol{number}", one.path, one.source, one.read_only) for number, one in enumerate(wish.volumes)
    )
    return Application(
        image=digest,
        reference=apps.images.name_of(digest, wish.image),
        args=tuple(args),
        env=merged(tuple(process.get("env") or ()), wish.env),
        cwd=process.get("cwd") or "/",
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        cpus=wish.cpus,
        gateway=wish.gateway,
        stop_signal=settings.get("StopSignal") or "SIGTERM",
        restart=wish.restart,
        read_only=wish.read_only,
        volumes=volumes,
        keeps=kept_beside(settings.get("Volumes") or {}, volumes),
    )


def kept_beside(declared: Iterable[str], volumes: Iterable[Volume]) -> tuple[str, ...]:
    """Of the folders that an image declares as volumes those that are in none of the application's."""
    held = [Path(volume.path) for volume in volumes]
    return tuple(sorted(one for one in declared if not any(Path(one).is_relative_to(path) for path in held)))


def _user(found: dict[str, object]) -> users.User:
    groups = found.get("additionalGids")
    more = tuple(int(group) for group in groups) if isinstance(groups, list) else ()
    return users.User(int(str(found.get("uid", 0))), int(str(found.get("gid", 0))), more)


def merged(known: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """An environment: what was asked for takes the place of what is there."""
    both = {one.partition("=")[0]: one for one in (*known, *wanted)}
    return tuple(both.values())


def check(wish: RunApp) -> None:
    """Raises Refused for a wish that cannot be meant, with all that is wrong."""
    problems = [*_problems(wish), *nics.problems(_as_guest(wish))]
    for one in wish.volumes:
        problems += _volume_problems(one)
    if problems:
        raise _refused(wish.name or "an application", "; ".join(problems), Kind.USAGE)


def _problems(wish: RunApp) -> Iterator[str]:
    if not NAME.fullmatch(wish.name):
        yield f"'{wish.name}' is no name: 1 to 40 small letters, digits and hyphens"
    if wish.memory_bytes not in MEMORY_BYTES:
        yield "memory must be between 4 MiB and 16 TiB"
    if not 0 <= wish.cpus <= 255:
        yield "--cpus is a number of processors up to 255, such as 0.5"
    yield from (f"'{one}' is no variable: NAME=VALUE" for one in wish.env if not ENV.fullmatch(one))
    if any("\0" in one for one in wish.args):
        yield "an argument holds a zero byte"
    if len(wish.volumes) > VOLUMES_MAX:
        yield f"an application has at most {VOLUMES_MAX} volumes"
    if len({Path(one.path) for one in wish.volumes}) != len(wish.volumes):
        yield "two volumes have the same path"
    if wish.gateway and not nics.is_address(wish.gateway):
        yield f"'{wish.gateway}' is no address of a gateway"


def _volume_problems(one: VolumeWish) -> Iterator[str]:
    if not one.path.startswith("/") or ".." in Path(one.path).parts or one.path in TAKEN:
        yield f"a volume cannot be at '{one.path}': an absolute path, and not {', '.join(TAKEN)}"
    if one.source and (not one.source.startswith("/") or ".." in Path(one.source).parts):
        yield f"a volume's folder on the host is an absolute path, not '{one.source}'"
    elif one.source and not Path(one.source).is_dir():
        yield f"this host has no folder {one.source}"


def _as_guest(wish: RunApp) -> CreateGuest:
    """Cards are asked for, and wrong, in the same ways."""
    return CreateGuest(wish.name, wish.image, address=wish.address, nics=wish.nics)


def _refused(name: str, why: str, kind: Kind) -> Refused:
    return Refused(
        what=f"cannot run {name}",
        why=why,
        todo="Correct what is named here; `segue app run --help` has examples.",
        kind=kind,
    )
