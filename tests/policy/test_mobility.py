"""What ties an application to its host is said before anything stops, with the process that holds it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.belongings import Engine, Held, Holding
from segue.policy import mobility

ENGINE = Engine(criu="4.2", kernel="6.12", cpu_flags=frozenset({"fpu", "avx2"}), soft_dirty=True)
HARMLESS = (
    Held(Holding.SOCKET, "TCP", 1),
    Held(Holding.SOCKET, "UNIX-STREAM", 1),
    Held(Holding.DEVICE, "/dev/null", 1),
    Held(Holding.DEVICE, "/dev/pts/3", 1),
    Held(Holding.FILE, "anon_inode:[eventpoll]", 1),
    Held(Holding.FILE, "/data/log", 1),
    Held(Holding.WATCH, "tmpfs", 1),
    Held(Holding.MOUNT, "overlay", 1, "/"),
    Held(Holding.FILE, "anon_inode:[pidfd]", 1),
    Held(Holding.FILE, "/memfd:x (deleted)", 1),
    Held(Holding.DELETED, "/data/small", 1, bytes=256 << 20),
)
HARMFUL = (
    (Held(Holding.FILE, "anon_inode:[io_uring]", 7), "io_uring"),
    (Held(Holding.DEVICE, "/dev/nvidia0", 7), "/dev/nvidia0"),
    (Held(Holding.SOCKET, "MPTCP", 7), "multipathtcp=0"),
    (Held(Holding.SOCKET, "AF_VSOCK", 7), "AF_VSOCK"),
    (Held(Holding.WATCH, "overlay", 7), "inotify"),
    (Held(Holding.MOUNT, "mqueue", 7, "/dev/mqueue"), "/dev/mqueue"),
    (Held(Holding.MOUNT, "fuse.sshfs", 7, "/data"), "/data"),
    (Held(Holding.TRACER, "99", 7), "99"),
    (Held(Holding.WATCH, "proc", 7), "/proc"),
    (Held(Holding.FILE, "anon_inode:[landlock-ruleset]", 7), "landlock-ruleset"),
    (Held(Holding.FILE, "anon_inode:[eventfd] semaphore", 7), "semaphore"),
    (Held(Holding.FILE, "/secretmem (deleted)", 7), "memfd_secret"),
    (Held(Holding.ELSEWHERE, "/queue", 7), "/queue"),
    (Held(Holding.DELETED, "/data/big", 7, bytes=(256 << 20) + 4096), "/data/big"),
    (Held(Holding.UNNAMED, "/usr/lib/libz.so.1", 7), "libz"),
    (Held(Holding.OUTSIDE, "/run/log", 7), "/run/log"),
    (Held(Holding.CALL, "", 7), "accepted"),
    (Held(Holding.SPACE, "user", 7), "user"),
    (Held(Holding.PACKETS, "pipe:[1]", 7), "O_DIRECT"),
    (Held(Holding.POLL, "12", 7), "12"),
    (Held(Holding.LEADERLESS, "", 7), "first thread"),
    (Held(Holding.GROUP, "239.1.2.3", 7), "239.1.2.3"),
)


@pytest.mark.parametrize(("held", "word"), HARMFUL)
def test_each_tie_is_named_with_its_holder(held: Held, word: str) -> None:
    (reason,) = mobility.obstacles((*HARMLESS, held))
    assert word in reason
    assert held.sort in {Holding.MOUNT, Holding.GROUP} or "process 7" in reason


@given(st.lists(st.sampled_from(HARMLESS)), st.lists(st.sampled_from([held for held, _ in HARMFUL])))
def test_harmless_things_never_hinder_and_harmful_ones_always_do(
    harmless: list[Held], harmful: list[Held]
) -> None:
    assert bool(mobility.obstacles([*harmless, *harmful])) is bool(harmful)


@given(st.frozensets(st.sampled_from("abcdef")), st.frozensets(st.sampled_from("abcdef")))
def test_a_processor_with_less_is_refused_and_one_with_more_is_not(
    here: frozenset[str], there: frozenset[str]
) -> None:
    found = mobility.between(replace(ENGINE, cpu_flags=here), replace(ENGINE, cpu_flags=there))
    assert bool(found) is bool(here - there)


def test_a_host_that_cannot_says_why() -> None:
    assert mobility.between(ENGINE, replace(ENGINE, criu="", fault="it has no criu")) == (
        "the target cannot move applications: it has no criu",
    )


def test_why_memory_cannot_leave_before_is_explained() -> None:
    assert "rounds before" in mobility.memory_way(replace(ENGINE, by_place=True))
    assert "no other way" in mobility.memory_way(ENGINE)
