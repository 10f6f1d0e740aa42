"""What is read as evidence is the end of it, bounded, and never led astray by what a guest put there."""

from __future__ import annotations

from pathlib import Path

from segue.adapters import evidence


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * 5000 + b"Kernel panic\x1b[0m - not syncing\n")
    found = evidence.tail(log, 100)
    assert found.startswith("[...]")
    assert found.endswith("Kernel panic[0m - not syncing\n")
    assert len(found) <= 105


def test_a_link_that_a_guest_put_there_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    (tmp_path / "console.log").symlink_to(secret)
    found = evidence.tail(tmp_path / "console.log", 100)
    assert "key" not in found
    assert "cannot be read" in found


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert evidence.tail(tmp_path / "none", 100) == "(there is none)"
    assert "cannot be read" in evidence.kernel_log(tmp_path / "none", 3)


def test_the_last_messages_of_the_kernel(tmp_path: Path) -> None:
    kmsg = tmp_path / "kmsg"
    lines = [f"6,{n},{n * 1_000_000},-;message {n}" for n in range(1000)]
    kmsg.write_text("\n".join([*lines, " SUBSYSTEM=pci", "no record"]) + "\n")
    assert evidence.kernel_log(kmsg, 2) == "[  998.000000] message 998\n[  999.000000] message 999"
