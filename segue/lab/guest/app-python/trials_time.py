"""Trials of clocks, timers, signals and of what one waits with."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator

from trials import Turn, demand

PERIOD_S = 0.02
TIMER, ALARM, OWN = signal.SIGRTMIN + 1, signal.SIGALRM, signal.SIGUSR2
BLOCKED = (TIMER, ALARM, OWN)
"""By every thread: those who want them wait for them."""
CLOCKS = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME, "wall": time.CLOCK_REALTIME}
STANDSTILL_S = 20.0
libc = ctypes.CDLL(None, use_errno=True)


def trials() -> Iterator[tuple[str, Turn]]:
    """All of them."""
    for name, clock in CLOCKS.items():
        yield f"clock, {name}", _clock(clock)
        yield f"timerfd, {name}", _timerfd(clock)
    yield "timer", _timer()
    yield "interval timer", _interval()
    yield "signalfd", _signalfd()
    yield "eventfd and epoll", _epoll()
    yield "a wait with a limit", _limited()
    yield "a point in time", _point()


def _clock(clock: int) -> Turn:
    last = [time.clock_gettime(clock)]

    def turn(number: int) -> None:
        now = time.clock_gettime(clock)
        demand(last[0] <= now < last[0] + STANDSTILL_S, f"it went by {now - last[0]:.3f} s")
        last[0] = now

    return turn


def _timerfd(clock: int) -> Turn:
    if sys.version_info < (3, 13):
        raise NotImplementedError
    timer = os.timerfd_create(clock)
    os.timerfd_settime(timer, initial=PERIOD_S, interval=PERIOD_S)
    return lambda number: demand(os.read(timer, 8) != bytes(8), "it came without having run off")


def _point() -> Turn:
    """timerfd again: never before its time, and soon after it."""
    if sys.version_info < (3, 13):
        raise NotImplementedError
    timer = os.timerfd_create(time.CLOCK_MONOTONIC)

    def turn(number: int) -> None:
        at_s = time.monotonic() + 0.9
        os.timerfd_settime(timer, flags=os.TFD_TIMER_ABSTIME, initial=at_s)
        demand(int.from_bytes(os.read(timer, 8), sys.byteorder) == 1, "it ran off more than once")
        demand(time.monotonic() >= at_s, f"it came {at_s - time.monotonic():.3f} s too early")

    return turn


def _timer() -> Turn:
    event = (ctypes.c_int * 16)(0, 0, TIMER, 0)  # sigev_value, sigev_signo, SIGEV_SIGNAL
    timer = ctypes.c_void_p()
    demand(libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) == 0, "timer_create")
    period = (ctypes.c_long * 4)(0, int(PERIOD_S * 1e9), 0, int(PERIOD_S * 1e9))
    demand(libc.timer_settime(timer, 0, period, None) == 0, "timer_settime")
    return lambda number: demand(signal.sigtimedwait([TIMER], 4), "it does not run any more")


def _interval() -> Turn:
    signal.setitimer(signal.ITIMER_REAL, PERIOD_S, PERIOD_S)
    return lambda number: demand(signal.sigtimedwait([ALARM], 4), "it does not run any more")


def _signalfd() -> Turn:
    mask = (ctypes.c_ulong * 16)(1 << OWN - 1)
    handle = libc.signalfd(-1, mask, 0)
    demand(handle >= 0, "signalfd")

    def turn(number: int) -> None:
        os.kill(os.getpid(), OWN)
        demand(os.read(handle, 128)[0] == OWN, "another signal came")

    return turn


def _epoll() -> Turn:
    event, epoll = os.eventfd(0), select.epoll()
    epoll.register(event, select.EPOLLIN)

    def turn(number: int) -> None:
        os.eventfd_write(event, 7)
        demand(epoll.poll(4) == [(event, select.EPOLLIN)], "nothing came")
        demand(os.eventfd_read(event) == 7, "another number came")

    return turn


def _limited() -> Turn:
    never = threading.Event()

    def turn(number: int) -> None:
        begun_s = time.monotonic()
        demand(not never.wait(0.05), "it was set")
        demand(time.monotonic() - begun_s >= 0.049, "it ended too early")
        time.sleep(0.05)
        demand(time.monotonic() - begun_s >= 0.098, "a sleep ended too early")

    return turn
