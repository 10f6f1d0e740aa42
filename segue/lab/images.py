"""Build the guests' images from Debian's own packages into the cache; an image once built never changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.lab import cachefill, image_app, image_debian, image_micro, image_postgres, rootfs

LAB: Final = Path(__file__).parent

KEEP: Final = 3
"""Versions of an image that stay: the running guests of a lab may still need one that is not the newest."""


@dataclass(frozen=True)
class Recipe:
    """`build(root, out, files)` makes the image in `out`."""

    build: Callable[[Path, Path, Path], None]
    description: Mapping[str, Any]
    free_bytes: int
    label: str
    based_on: str = ""
    """The image whose recipe this one adds to."""
    ingredients: tuple[str, ...] = ()
    """Files of this folder that make it; empty: those of every machine, and its own."""


def _app(name: str, wanted: Sequence[str], settings: Mapping[str, Any]) -> Recipe:
    return Recipe(
        image_app.recipe(wanted, settings, name),
        image_app.description(name),
        image_app.FREE_BYTES,
        f"the image of the application {name} (about 10 s)",
        ingredients=("packages.py", "oci_layout.py", "image_app.py", f"guest/{name}"),
    )


COMMON_INGREDIENTS: Final = (
    "packages.py",
    "kernel.py",
    "cpio.py",
    "initrd.py",
    "guest_services.py",
    "guest/services",
)
RECIPES: Final[Mapping[str, Recipe]] = {
    "micro": Recipe(
        image_micro.build,
        image_micro.DESCRIPTION,
        image_micro.FREE_BYTES,
        "the guest image micro (about 10 s)",
    ),
    "debian": Recipe(
        image_debian.build,
        image_debian.DESCRIPTION,
        image_debian.FREE_BYTES,
        "the guest image debian (about 60 s)",
    ),
    "postgres": Recipe(
        image_postgres.build,
        image_postgres.DESCRIPTION,
        image_postgres.FREE_BYTES,
        "the guest image postgres (about 90 s)",
        based_on="debian",
    ),
    "app-redis": _app("app-redis", ("redis-server",), image_app.REDIS),
    "app-python": _app("app-python", ("python3",), image_app.PYTHON),
    "app-nginx": _app("app-nginx", ("nginx",), image_app.NGINX),
    "app-postgres": _app("app-postgres", ("postgresql-17",), image_app.POSTGRES),
}


def ensure_images(cache: Path, names: Sequence[str], on_progress: Callable[[str], None]) -> None:
    """Have `<cache>/images/<name>/` for every name, built first where it is missing or of an older recipe."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise Refused(
            what=f"cannot build the guest image {unknown[0]}",
            why="there is no recipe for it",
            todo=f"Choose from {', '.join(RECIPES)}.",
            kind=Kind.NOT_FOUND,
        )
    for name in dict.fromkeys(names):
        _ensure(cache / "images", name, RECIPES[name], on_progress)


def _ensure(folder: Path, name: str, recipe: Recipe, on_progress: Callable[[str], None]) -> None:
    final = folder / f".{name}-{_key(name)}"
    if not final.is_dir() and os.geteuid() != 0:
        raise Refused(
            what=f"cannot build the guest image {name}",
            why="only root may unpack and run Debian's packages in a folder of their own",
            todo="Run the command as root.",
            kind=Kind.AUTH,
        )

    def build(half: Path) -> None:
        _build(half, name, recipe)

    cachefill.ensure(final, build, free_bytes=recipe.free_bytes, on_progress=on_progress, label=recipe.label)
    _point(folder / name, final)
    _remove_old(folder, name, final)


def _build(half: Path, name: str, recipe: Recipe) -> None:
    root = half / "root"
    recipe.build(root, half, LAB / "guest" / name)
    shutil.rmtree(root)
    text = json.dumps(dict(recipe.description), indent=2)
    (half / "image.json").write_text(f"{text}\n", encoding="utf-8")


def _key(name: str) -> str:
    """A changed recipe is another image, so an old one is never taken for a new one."""
    key = hashlib.sha256(repr((rootfs.SUITE, rootfs.OPTIONS)).encode())
    for path in _ingredients(name):
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return key.hexdigest()[:12]


def _ingredients(name: str) -> Iterator[Path]:
    own = [part for each in (RECIPES[name].based_on, name) if each for part in _parts(each)]
    for ingredient in RECIPES[name].ingredients or (*COMMON_INGREDIENTS, *own):
        path = LAB / ingredient
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def _parts(name: str) -> tuple[str, str]:
    return f"image_{name}.py", f"guest/{name}"


def _point(link: Path, final: Path) -> None:
    """The plain name is a link, so that a newer image takes its place in one step, under running labs too."""
    if link.is_symlink() and os.readlink(link) == final.name:
        return
    fresh = link.with_name(f".link-{final.name}-{os.getpid()}")
    fresh.symlink_to(final.name)
    fresh.rename(link)


def _remove_old(folder: Path, name: str, final: Path) -> None:
    others = [path for path in folder.glob(f".{name}-*") if path != final]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEEP - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
