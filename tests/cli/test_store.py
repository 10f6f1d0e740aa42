"""`segue store` as it is typed: data on stdout, the rest on stderr, and exit codes that say what became of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from segue.adapters.store.sqlite.store import SqliteStore
from segue.model.store import create


def segue(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "segue", "store", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def stock(path: Path) -> str:
    async def write() -> None:
        store = SqliteStore(path)
        await store.commit(create("guests/web1", b"{}"), create("guests/web2", b"{}"))
        await store.close()

    asyncio.run(write())
    return f"sqlite://{path}"


def test_there_and_back(tmp_path: Path) -> None:
    full, empty, file = stock(tmp_path / "full.db"), f"sqlite://{tmp_path}/empty.db", str(tmp_path / "backup")
    done = segue("backup", file, "--store", full, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entries"] == 2
    done = segue("restore", file, "--store", empty, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["entries"]) == (0, 2), done.stderr
    again = segue("restore", file, "--store", empty)
    assert (again.returncode, again.stdout) == (4, "")
    assert "refused" in again.stderr
    assert "--replace" in again.stderr
    moved = segue("migrate", "--from", empty, "--to", full, "--replace")
    assert moved.returncode == 0, moved.stderr
    assert "ENTRIES" in moved.stdout
    assert full in moved.stderr


def test_what_is_wrong_is_said_by_code(tmp_path: Path) -> None:
    full = stock(tmp_path / "full.db")
    assert segue("backup", str(tmp_path / "b"), "--store", "etcd://a?x=y").returncode == 2
    assert segue("backup", str(tmp_path / "b"), "--store", f"sqlite://{tmp_path}/none.db").returncode == 3
    assert segue("restore", str(tmp_path / "none"), "--store", full).returncode == 3
    assert segue("migrate", "--from", full, "--to", full, "--replace").returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir() if "-" not in path.name) == ["full.db"]
