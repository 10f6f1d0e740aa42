"""A network of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from segue.lab import syscalls


def in_a_network(work: Callable[[], object]) -> None:
    """In a thread of its own, which ends in an empty network."""

    def enter() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        work()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(enter).result()
