"""The cache holds whole folders or none, whatever happens to those who build them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segue.errors import Kind, Refused
from segue.lab import cachefill, layers, rootfs
from tests.lab.conftest import wait_until

BUILD = """
import os, signal, sys
from pathlib import Path
from segue.lab import cachefill
final, act = Path(sys.argv[1]), sys.argv[2]
def build(half):
    (half / "part").write_text("half")
    if act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("building", flush=True)
    sys.stdin.readline()
    (half / "whole").write_text("done")
cachefill.ensure(final, build, free_bytes=1, on_progress=lambda text: print(text, flush=True), label="it")
"""


def builder(final: Path, act: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(final), act], stdin=pipe, stdout=pipe, text=True
    )


def ensure(final: Path, said: list[str] | None = None) -> Path:
    def build(half: Path) -> None:
        (half / "whole").write_text("done")

    heard = [] if said is None else said
    return cachefill.ensure(final, build, free_bytes=1, on_progress=heard.append, label="it")


def test_a_killed_builder_leaves_no_folder_of_the_name_and_the_next_one_clears_up(tmp_path: Path) -> None:
    final = tmp_path / "thing"
    killed = builder(final, "die")
    assert killed.wait(20) == -signal.SIGKILL
    assert not final.exists()
    assert list(tmp_path.glob(".half-thing-*"))
    assert (ensure(final) / "whole").read_text() == "done"
    assert not list(tmp_path.glob(".half-thing-*"))
    assert not (final / "part").exists()


def test_a_second_builder_waits_and_builds_nothing(tmp_path: Path) -> None:
    final = tmp_path / "thing"
    first, second = builder(final, "wait"), None
    assert first.stdout is not None
    assert first.stdin is not None
    assert [first.stdout.readline() for _ in range(2)] == ["building it\n", "building\n"]
    second = builder(final, "wait")
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting for another command that builds it\n"
    assert not final.exists()
    first.stdin.write("go\n")
    first.stdin.close()
    assert (first.wait(20), second.wait(20)) == (0, 0)
    assert second.stdout.read() == ""
    assert sorted(path.name for path in final.iterdir()) == ["part", "whole"]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(half: Path) -> None:
        (half / "part").write_text("half")
        raise Refused(what="cannot", why="because", todo="nothing")

    with pytest.raises(Refused):
        cachefill.ensure(tmp_path / "thing", build, free_bytes=1, on_progress=print, label="it")
    assert [path.name for path in tmp_path.iterdir()] == [".lock-thing"]


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    said: list[str] = []
    ensure(tmp_path / "thing", said)
    ensure(tmp_path / "thing", said)
    assert said == ["building it"]


@pytest.mark.lab
def test_a_full_disk_is_refused_before_the_work(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=True)
    try:
        with pytest.raises(Refused, match="8 MiB free and 1500 MiB are needed") as refused:
            rootfs.ensure(small, print)
        assert "SEGUE_LAB_CACHE" in refused.value.todo
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.lab
def test_a_missing_mmdebstrap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(Refused, match="mmdebstrap is not on this machine") as refused:
        rootfs.ensure(tmp_path, print)
    assert "make setup" in refused.value.todo
    assert refused.value.kind is Kind.NOT_FOUND


@pytest.mark.lab
def test_a_builder_of_packages_dies_with_its_command(tmp_path: Path) -> None:
    script = (
        "from segue.lab import rootfs; "
        f"rootfs.run_alone(['sh', '-c', 'mount -t tmpfs none {tmp_path}; exec sleep 12345'], what='x')"
    )
    command = subprocess.Popen([sys.executable, "-c", script])

    def sleeping() -> list[str]:
        found = subprocess.run(["pgrep", "-f", "^sleep 12345"], capture_output=True, text=True, check=False)
        return found.stdout.split()

    wait_until(sleeping, "the builder runs")
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    wait_until(lambda: not sleeping(), "the builder is gone")
    assert not os.path.ismount(tmp_path)


@pytest.mark.lab
def test_changed_code_is_a_new_layer_and_old_ones_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "segue"
    source.mkdir()
    monkeypatch.setattr(layers, "package", lambda: source)
    base = rootfs.ensure(Path("/var/cache/segue-lab"), print)
    cache = tmp_path / "cache"
    made = []
    for number in range(layers.KEEP + 2):
        (source / "code.py").write_text(f"NUMBER = {number}\n")
        made.append(layers.ensure_segue(cache, base, print))
    assert len(set(made)) == layers.KEEP + 2
    assert (made[-1] / layers.APP / "segue" / "code.py").read_text() == f"NUMBER = {layers.KEEP + 1}\n"
    assert list((made[-1] / layers.APP / "segue" / "__pycache__").glob("code.cpython-313.pyc"))
    assert [path.exists() for path in made] == [False] * 2 + [True] * layers.KEEP
    assert layers.ensure_segue(cache, base, print) == made[-1]
