"""What still runs from before an update is found, by files as a kernel writes them and by this very process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from segue.adapters.maintenance import outdated

MAPS = """\
55d0c0000000-55d0c0001000 r-xp 00000000 fe:00 1111 {program}
7f0000000000-7f0000001000 r-xp 00000000 fe:00 2222 /usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)
7f0000002000-7f0000003000 r--p 00001000 fe:00 2222 /usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)
7f0000004000-7f0000005000 rw-s 00000000 00:01 3333 /memfd:ram0 (deleted)
7f0000006000-7f0000007000 rw-s 00000000 00:01 4444 /tmp/a file (deleted)
7f0000008000-7f0000009000 rw-p 00000000 00:00 0
"""


def root(path: Path, running: str, *installed: str, maps: str = "") -> Path:
    (path / "proc/sys/kernel").mkdir(parents=True)
    (path / "proc/sys/kernel/osrelease").write_text(running + "\n")
    (path / "proc/1").mkdir()
    (path / "proc/1/maps").write_text(maps)
    (path / "boot").mkdir()
    for version in installed:
        (path / f"boot/vmlinuz-{version}").touch()
    return path


@pytest.mark.parametrize(
    ("running", "installed", "newer"),
    [
        ("6.12.9-amd64", ("6.12.9-amd64",), ""),
        ("6.12.9-amd64", ("6.12.9-amd64", "6.12.10-amd64"), "6.12.10-amd64"),
        ("6.12.10-amd64", ("6.12.9-amd64", "6.12.10-amd64"), ""),
        ("6.8.0-9-generic", ("6.8.0-9-generic", "6.8.0-31-generic"), "6.8.0-31-generic"),
        ("6.1.0-custom", ("6.12.9-amd64",), ""),
        ("6.1.0-custom", (), ""),
    ],
)
def test_a_newer_kernel_is_seen_where_the_running_one_is_a_package_s(
    tmp_path: Path, running: str, installed: tuple[str, ...], newer: str
) -> None:
    found = root(tmp_path, running, *installed)
    assert outdated.newer_kernel(found) == newer
    assert (newer in outdated.reboot_wanted(found)) if newer else not outdated.reboot_wanted(found)


def test_files_of_packages_count_and_a_program_s_own_do_not(tmp_path: Path) -> None:
    found = root(tmp_path, "x", maps=MAPS.format(program="/usr/sbin/init"))
    assert outdated.replaced_files(1, found) == ["/usr/lib/x86_64-linux-gnu/libc.so.6"]
    assert "libc.so.6" in outdated.reboot_wanted(found)
    assert outdated.replaced_files(2, found) == []


def test_a_real_process_whose_program_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "echoes"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o755)
    monkeypatch.setattr(outdated, "OF_PACKAGES", (f"{tmp_path}/",))
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(b"x")
        assert process.stdout.read(1) == b"x"  # From here on its program is mapped.
        assert outdated.replaced_files(process.pid) == []
        new = tmp_path / "new"
        new.write_bytes(program.read_bytes())
        new.replace(program)
        assert outdated.replaced_files(process.pid) == [str(program)]
    finally:
        process.kill()
        process.communicate()
