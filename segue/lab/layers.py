"""Installs segue into the lab's machines as on a real host: its dependencies and its code, each one layer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import segue
from segue.errors import Kind, Refused
from segue.lab import cachefill, processes, rootfs

PYTHON: Final = "3.13"
SITE: Final = "usr/lib/segue/site-packages"
APP: Final = "usr/lib/segue/app"
SERVICE: Final = "etc/sv/segue-agent"
LAUNCHER: Final = f"""#!/bin/sh
PYTHONPATH=/{APP}:/{SITE} exec /usr/bin/python3 -P -m segue "$@"
"""
SERVICE_RUN: Final = """#!/bin/sh
exec 2>&1
exec nice -n -10 segue agent --config /etc/segue/agent.toml
"""
SERVICE_LOG: Final = """#!/bin/sh
mkdir -p /var/log/segue/agent
exec svlogd -tt /var/log/segue/agent
"""
FREE_BYTES: Final = 400 * cachefill.MIB
KEEP: Final = 5


def package() -> Path:
    """The installed or checked-out package that this very process runs."""
    return Path(segue.__file__).parent


def ensure_dependencies(cache: Path, base: Path, on_progress: cachefill.Progress, tree: str = "") -> Path:
    """The layer with what segue, or that of `tree`, imports, fetched for the machines' Python and not for ours."""
    wanted, pins = sorted(_dependencies(tree)), _pins(tree)
    key = hashlib.sha256("\n".join([PYTHON, platform.machine(), *wanted, "--", *pins, base.name]).encode())

    def build(half: Path) -> None:
        _fetch(half, wanted, pins)
        compile_python(half, [base], SITE)

    return cachefill.ensure(
        cache / f"deps-{key.hexdigest()[:12]}",
        build,
        free_bytes=FREE_BYTES,
        on_progress=on_progress,
        label="the layer of Python packages",
    )


def ensure_segue(cache: Path, base: Path, on_progress: cachefill.Progress, tree: str = "") -> Path:
    """The layer with segue's own code, or that of `tree`: a copy, so that an edit never changes a running machine."""
    files = _files(_package_of(tree))

    def build(half: Path) -> None:
        for name, raw in files.items():
            target = half / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(raw)
            target.chmod(0o644 if name.startswith(APP) else 0o755)
        compile_python(half, [base], APP)

    final = cachefill.ensure(
        _segue_folder(cache, base, files),
        build,
        free_bytes=50 * cachefill.MIB,
        on_progress=on_progress,
        label="the layer of segue itself",
    )
    os.utime(final)  # the newest are those used last
    _remove_old(cache, keep=final)
    return final


def current_segue(cache: Path, base: Path, tree: str = "") -> Path:
    """Where the layer of the code as it is now lies, or would lie."""
    return _segue_folder(cache, base, _files(_package_of(tree)))


def _segue_folder(cache: Path, base: Path, files: Mapping[str, bytes]) -> Path:
    key = hashlib.sha256(base.name.encode())
    for name, raw in files.items():
        key.update(f"{name}\0{len(raw)}\0".encode())
        key.update(raw)
    return cache / f"segue-{key.hexdigest()[:12]}"


def _package_of(tree: str) -> Path:
    return Path(tree) / "segue" if tree else package()


def _files(source: Path) -> dict[str, bytes]:
    """Read once, so that the name of the layer fits what is in it while somebody saves a file."""
    found = {"usr/bin/segue": LAUNCHER, f"{SERVICE}/run": SERVICE_RUN, f"{SERVICE}/log/run": SERVICE_LOG}
    files = {name: text.encode() for name, text in found.items()}
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            with contextlib.suppress(FileNotFoundError):  # an editor's own file, gone again
                files[f"{APP}/segue/{path.relative_to(source)}"] = path.read_bytes()
    return files


def _remove_old(cache: Path, keep: Path) -> None:
    """Each change of the code leaves a layer; the few newest stay, and those that a machine stands on."""
    layers = sorted(cache.glob("segue-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    old = [path for path in layers[KEEP:] if path != keep]
    mounted = processes.mounts() if old else ""
    for path in old:
        if str(path) not in mounted:
            shutil.rmtree(path, ignore_errors=True)


def compile_python(layer: Path, below: list[Path], folder: str) -> None:
    """Compile with the machines' own Python, which finds it in `below` and writes into the layer."""
    script = (
        'mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" none "$4"'
        ' && chroot "$4" python3 -m compileall -q "/$5" ; umount "$4"'
    )
    work, root = layer.with_name(f"{layer.name}.work"), layer.with_name(f"{layer.name}.root")
    work.mkdir()
    root.mkdir()
    try:
        rootfs.run_alone(
            ["sh", "-c", script, "sh", ":".join(map(str, below)), str(layer), str(work), str(root), folder],
            what="cannot compile segue's Python code for the lab",
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
        root.rmdir()


def _dependencies(tree: str) -> list[str]:
    """What the package declares for running; extras are for developing. A tree that declares nothing needs the same.

    A checkout is asked itself: what was noted when it was installed may be older.
    """
    for root in (*([Path(tree)] if tree else []), package().parent):
        if (project := root / "pyproject.toml").is_file():
            found: list[str] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
            return found
    declared = metadata.requires("segue") or []
    return [line for line in declared if not re.search(r";.*\bextra\b", line)]


def _pins(tree: str) -> list[str]:
    """The exact versions: the lock file of the tree, checkout or wheel, else what is installed here."""
    own = [Path(tree) / "requirements.lock"] if tree else []
    for lock in (*own, package().parent / "requirements.lock", package() / "requirements.lock"):
        if lock.is_file():
            return lock.read_text(encoding="utf-8").splitlines()
    return sorted(
        f"{found.name}=={found.version}" for found in metadata.distributions() if found.name != "segue"
    )


def _fetch(half: Path, wanted: list[str], pins: list[str]) -> None:
    constraints = half / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    command = [*_installer(), "--target", str(half / SITE), "--constraint", str(constraints), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Refused(
            what="cannot fetch the Python packages for the lab's machines",
            why=f"{command[0]} said: {' '.join(done.stderr.split())[-400:]}",
            todo="Check that this machine reaches a Python package index, and try again.",
            kind=Kind.UNREACHABLE,
        )
    constraints.unlink()


def _installer() -> list[str]:
    """uv judges markers for the Python asked for; pip, which judges them for its own, comes second."""
    machine = platform.machine()
    if uv := shutil.which("uv"):
        target = ["--python-version", PYTHON, "--python-platform", f"{machine}-manylinux_2_36"]
        return [uv, "pip", "install", "--quiet", *target, "--only-binary", ":all:"]
    target = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:"]
    for tag in ("manylinux_2_36", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        target += ["--platform", f"{tag}_{machine}"]
    return [*_pip(), "install", "--quiet", *target]


def _pip() -> list[str]:
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    raise Refused(
        what="cannot fetch the Python packages for the lab's machines",
        why="neither uv nor pip is on this machine",
        todo="Run `make setup`, or install uv or python3-pip.",
        kind=Kind.NOT_FOUND,
    )
