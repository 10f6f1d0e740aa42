"""Puts an application's container, files and network on this host, and takes them away again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from segue.adapters.net.steering import tap_name
from segue.adapters.oci import bundle, container, mounts
from segue.adapters.oci.container import Container
from segue.adapters.oci.places import AppPlaces
from segue.agent import plant
from segue.agent.apps import Apps
from segue.agent.services import Services
from segue.errors import Refused
from segue.model.application import Application
from segue.model.guest import Guest

RESOLVER = Path("/etc/resolv.conf")


async def find(services: Services, guest: Guest) -> Container | None:
    """The application's container if it is on this host."""
    found = await container.find(services.apps.places(guest))
    if found is not None:
        await services.metadata.attach(guest)
    return found


async def start(services: Services, guest: Guest) -> Container:
    """Starts it from its files; nothing is left behind when that does not succeed, but its files. It is under its
    host's guard before any of it runs."""
    made: Container | None = None
    try:
        await make_network(services, guest, silent=False)
        await asyncio.to_thread(make_bundle, services.apps, guest)
        places = services.apps.places(guest)
        made = await container.launch(places, container.create_command(places))
        await services.lease.admit_tree(guest, places.cgroup)
        await container.begin(places)
    except BaseException:
        await remove(services, guest, made)
        raise
    return made


def make_bundle(apps: Apps, guest: Guest) -> None:
    """What the runtime is given, with the root file system mounted. Safe to repeat."""
    app, places = _app(guest), apps.places(guest)
    places.bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
    places.crun.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_files(apps, guest, app, places)
    mounts.overlay(apps.images.rootfs(app.image), places.upper, places.work, places.rootfs)
    limits = apps.limits
    found = bundle.config(guest, app, places, limits, apps.seccomp)
    places.config.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _make_files(apps: Apps, guest: Guest, app: Application, places: AppPlaces) -> None:
    """Once in its life, while nothing of the application can have put a link there."""
    if not apps.images.has(app.image):
        raise Refused(
            what=f"{guest.name} cannot run here",
            why=f"this host does not have its image {app.reference} ({app.image[:19]})",
            todo=f"Take it in: `segue app pull {app.reference}`.",
        )
    for volume in app.volumes:
        if not volume.source:
            _own_folder(places.volume(volume), app)
    if places.upper.exists():
        return
    half = places.folder / "upper.new"
    etc = half / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    rootfs = apps.images.rootfs(app.image)
    _like(half, rootfs)
    _like(etc, rootfs / "etc")
    address = next((nic.address.partition("/")[0] for nic in guest.nics if nic.address), "127.0.1.1")
    hosts = f"127.0.0.1 localhost\n::1 localhost\n{address} {guest.name}\n"
    resolver = RESOLVER.read_text(encoding="utf-8") if RESOLVER.exists() else ""
    for name, text in (("hostname", f"{guest.name}\n"), ("hosts", hosts), ("resolv.conf", resolver)):
        (etc / name).write_text(text, encoding="utf-8")
        (etc / name).chmod(0o644)
    half.rename(places.upper)


def _like(folder: Path, model: Path) -> None:
    """An upper folder hides the owner and rights of the one below it."""
    if model.is_dir() and not model.is_symlink():
        found = model.stat()
        os.chown(folder, found.st_uid, found.st_gid)
        folder.chmod(found.st_mode & 0o7777)
        return
    folder.chmod(0o755)


def _own_folder(folder: Path, app: Application) -> None:
    if not folder.exists():
        folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.mkdir(mode=0o755)
        os.chown(folder, app.uid, app.gid)


async def make_network(services: Services, guest: Guest, *, silent: bool, hushed: bool = False) -> None:
    """Its network, plugged in. silent: the bridges send it nothing that they have not learnt from it.

    hushed: they hear nothing from it either, as its kernel would speak before the application runs here.
    """
    place = services.apps.places(guest).netns
    await services.apps.cells.make(place, guest.nics, _app(guest).gateway)
    for nic in guest.nics:
        outer = tap_name(guest.name, nic)
        await services.steering.hook(outer)
        if hushed:
            await services.steering.hush(outer)
        await services.links.plug(outer, services.networks.bridge_of(nic), nic, silent=silent)
    await services.metadata.attach(guest)


async def make_known(services: Services, guest: Guest) -> None:
    """Bridges and neighbours learn where the application is."""
    await plant.open_ports(services, guest)
    await services.apps.cells.announce(services.apps.places(guest).netns, guest.nics)


async def remove(services: Services, guest: Guest, found: Container | None) -> None:
    """Ends it and takes its network away; its files stay. Safe to repeat."""
    await container.remove(services.apps.places(guest))
    services.protection.forget(guest)
    if found is not None:
        found.close()
    await clear_network(services, guest)


async def clear_network(services: Services, guest: Guest) -> None:
    """Nothing of its network stays."""
    await plant.clear_network(services, guest)
    await services.apps.cells.remove(services.apps.places(guest).netns, guest.nics)


def _app(guest: Guest) -> Application:
    assert guest.app is not None
    return guest.app
