"""The account is right for every order of losses, duplicates, delays and wrong answers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.observation import Gap
from segue.traffic import ledger
from segue.traffic.histogram import Histogram
from segue.traffic.ledger import Ledger, Reply

PERIOD_S = 1.0


@dataclass(frozen=True)
class Fate:
    """When the replies to one message come, after it was sent; none: it is lost."""

    delays_s: tuple[float, ...]


# Whole and quarter numbers, so that sums of them are exact and two ways to the same figure agree to the bit.
delays = st.integers(min_value=1, max_value=60).map(lambda quarters: quarters / 4)
fates = st.lists(st.builds(Fate, st.lists(delays, max_size=3).map(tuple)), max_size=40)


def replies_of(fates: list[Fate]) -> list[tuple[float, int]]:
    """(time, number) of every reply, in the order in which they come."""
    return sorted(
        (number * PERIOD_S + delay, number) for number, fate in enumerate(fates) for delay in fate.delays_s
    )


def play(fates: list[Fate], worst: int = 1000) -> tuple[Ledger, list[Reply]]:
    """Tell a ledger all that happens, in the order in which it happens."""
    events = [(number * PERIOD_S, 0, number) for number in range(len(fates))]
    events += [(at_s, 1, number) for at_s, number in replies_of(fates)]
    book, outcomes = Ledger(worst), []
    for at_s, is_reply, number in sorted(events):
        if is_reply:
            outcomes.append(book.note_reply(number, at_s)[0])
        else:
            book.note_sent(number, at_s)
    return book, outcomes


def first_replies(fates: list[Fate]) -> list[tuple[float, int]]:
    seen: set[int] = set()
    firsts = []
    for at_s, number in replies_of(fates):
        if number not in seen:
            seen.add(number)
            firsts.append((at_s, number))
    return firsts


@given(fates)
def test_every_message_is_received_or_lost_and_every_further_reply_is_a_duplicate(fates: list[Fate]) -> None:
    book, outcomes = play(fates)
    answered = [fate for fate in fates if fate.delays_s]
    assert (book.sent, book.received, book.lost) == (len(fates), len(answered), len(fates) - len(answered))
    assert book.duplicated == sum(len(fate.delays_s) - 1 for fate in answered)
    assert outcomes.count(Reply.FIRST) == book.received
    assert book.waiting == (book.lost > 0)


@given(fates)
def test_a_reply_is_reordered_when_a_later_message_was_answered_before(fates: list[Fate]) -> None:
    numbers = [number for _, number in first_replies(fates)]
    late = [number for place, number in enumerate(numbers) if any(n > number for n in numbers[:place])]
    assert play(fates)[0].reordered == len(late)


@given(fates)
def test_gaps_are_the_times_between_first_replies(fates: list[Fate]) -> None:
    times = [at_s for at_s, _ in first_replies(fates)]
    lengths = sorted((b - a for a, b in itertools.pairwise(times) if b > a), reverse=True)
    assert [gap.length_s for gap in play(fates)[0].gaps()] == lengths


@given(fates, st.integers(min_value=1, max_value=5))
def test_only_the_longest_gaps_are_kept(fates: list[Fate], worst: int) -> None:
    all_gaps = play(fates)[0].gaps()
    kept = play(fates, worst)[0].gaps()
    assert [gap.length_s for gap in kept] == [gap.length_s for gap in all_gaps[:worst]]


@given(fates, delays)
def test_silence_until_the_end_is_a_gap(fates: list[Fate], more_s: float) -> None:
    book, _ = play(fates)
    times = [at_s for at_s, _ in first_replies(fates)]
    end_s = max([*times, len(fates) * PERIOD_S]) + more_s
    gap = book.close(end_s)
    silent = bool(times) and (len(fates) - 1) * PERIOD_S > times[-1]
    assert gap == (Gap(times[-1], end_s) if silent else None)


@given(fates)
def test_latencies_are_counted_from_sending_to_the_first_reply(fates: list[Fate]) -> None:
    book, _ = play(fates)
    longest_s = max((min(fate.delays_s) for fate in fates if fate.delays_s), default=0.0)
    assert book.latencies.latency().max_s == longest_s
    assert book.longest_request_s == longest_s


@given(st.lists(st.floats(min_value=1e-5, max_value=1e3), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_one_percent(durations: list[float], share: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    assert exact * (1 - 1e-9) <= histogram.quantile_s(share) <= exact * 1.011


@given(st.lists(delays, max_size=50), st.lists(delays, max_size=50))
def test_two_histograms_together_are_the_histogram_of_both(one: list[float], other: list[float]) -> None:
    left, right, both = Histogram(), Histogram(), Histogram()
    for duration in one:
        left.add(duration)
        both.add(duration)
    for duration in other:
        right.add(duration)
        both.add(duration)
    left.include(right)
    assert left.latency() == both.latency()


def test_a_wrong_answer_is_failed_and_its_message_lost() -> None:
    book = Ledger(worst=5)
    book.note_sent(0, 1.0)
    book.note_failed(0, 3.5)
    assert (book.sent, book.received, book.lost, book.failed) == (1, 0, 1, 1)
    assert book.longest_request_s == 2.5
    assert not book.waiting


def test_of_the_lost_it_says_when_they_were_sent() -> None:
    book = Ledger(worst=5)
    for number in range(100):
        book.note_sent(number, 10.0 + number)
    for number in set(range(100)) - {7, 8, *range(40, 90)}:
        book.note_reply(number, 200.0)
    seen = ledger.observation("udp", "web1:7000", 0.0, 300.0, [book], worst=5)
    assert seen.lost == 52
    assert seen.lost_sent_s[:3] == (17.0, 18.0, 50.0)
    assert len(seen.lost_sent_s) == ledger.SHOWN_MAX


def test_a_reply_to_nothing_that_was_sent_is_not_counted() -> None:
    book = Ledger(worst=5)
    book.note_sent(0, 1.0)
    assert book.note_reply(7, 1.5) == (Reply.UNKNOWN, None)
    assert (book.received, book.duplicated) == (0, 0)


def test_numbers_must_grow() -> None:
    book = Ledger(worst=5)
    book.note_sent(3, 1.0)
    with pytest.raises(ValueError, match="message 3 after message 3"):
        book.note_sent(3, 2.0)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "WAITING_MAX", 3)
    book = Ledger(worst=5)
    for number in range(5):
        book.note_sent(number, float(number))
    assert book.note_reply(1, 6.0)[0] is Reply.DUPLICATE
    assert book.note_reply(2, 6.0)[0] is Reply.FIRST
    assert (book.sent, book.received, book.lost) == (5, 1, 4)


def test_connections_are_added_up_but_their_gaps_stay_their_own() -> None:
    one, other = Ledger(worst=2), Ledger(worst=2)
    for number, (sent_s, reply_s) in enumerate([(0.0, 1.0), (1.0, 2.0), (2.0, 9.0)]):
        one.note_sent(number, sent_s)
        one.note_reply(number, reply_s)
    for number in range(9):
        other.note_sent(number, float(number))
        other.note_reply(number, number + 0.5)
    seen = ledger.observation("tcp", "x:1", 0.0, 9.0, [one, other], worst=2)
    assert (seen.sent, seen.received, seen.lost) == (12, 12, 0)
    assert seen.longest_gap_s == 7.0
    assert seen.gaps[0] == Gap(2.0, 9.0)
    assert len(seen.gaps) == 2
    assert seen.longest_request_s == 7.0
