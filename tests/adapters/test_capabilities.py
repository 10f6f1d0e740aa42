"""A QEMU that cannot be used: it is said why, at once, and nothing of it is left."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from segue.adapters.qemu import capabilities
from segue.errors import Refused


@pytest.mark.parametrize(
    ("program", "mode", "why"),
    [
        (
            "#!/bin/sh\necho 'libfdt.so.1: cannot open shared object file' >&2\nexit 127\n",
            0o755,
            "ended with 127: libfdt",
        ),
        ("#!/bin/sh\nexit 1\n", 0o755, "it ended with 1"),
        (
            "#!/bin/sh\necho waiting >&2\nsleep 297.5 &\nwait\n",
            0o755,
            "it said nothing within 0.5 s: waiting",
        ),
        ("no program at all", 0o755, "cannot be started: Exec format error"),
        ("", None, "there is no "),
    ],
)
async def test_why_a_qemu_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, mode: int | None, why: str
) -> None:
    path = tmp_path / "qemu"
    if mode is not None:
        path.write_text(program)
        path.chmod(mode)
    monkeypatch.setattr(capabilities, "BINARY", str(path))
    monkeypatch.setattr(capabilities, "START_S", 0.5)
    begun_s = time.monotonic()
    with pytest.raises(Refused) as refused:
        await capabilities.ask(tmp_path, "root")
    assert why in refused.value.why
    assert time.monotonic() - begun_s < 5.0
    left = subprocess.run(["pgrep", "-f", "sleep 297.5"], check=False, capture_output=True, text=True)
    assert left.stdout == ""
