"""Verdicts: no flapping, more is never better, one source never kills, the explanation names what decided."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from segue.model.health import TROUBLE, Blind, Health, Kind, Level, Measure, Part, Reading, Rule, Sample
from segue.policy import health, health_rules, health_series
from segue.policy.health_table import BUILT_IN, FIGURES
from tests.policy.health_worlds import DIMM, DISK, LOOK_S, Watcher, levels, rule

HOUR_S, DAY_S = 3_600.0, 86_400.0
rates = st.one_of(st.floats(0.0, 400.0), st.floats(9.0, 11.0), st.floats(98.0, 102.0))
"""Errors per day; around the limits a window has one more or one less of them from look to look."""
steps = st.lists(st.integers(0, 30), min_size=1, max_size=60)


@given(rates)
def test_a_constant_rate_never_flaps(per_day: float) -> None:
    seen = levels(Watcher(), lambda now_s: int(per_day * now_s / DAY_S), looks=24 * 5, every_s=HOUR_S)
    assert all(before.rank <= after.rank for before, after in pairwise(seen)), "it only settles"


@given(rates, rates)
def test_more_errors_are_never_better(one: float, other: float) -> None:
    low, high = sorted((one, other))
    mild = levels(Watcher(), lambda now_s: int(low * now_s / DAY_S), looks=60, every_s=HOUR_S)
    grave = levels(Watcher(), lambda now_s: int(high * now_s / DAY_S), looks=60, every_s=HOUR_S)
    assert all(a.rank <= b.rank for a, b in zip(mild, grave, strict=True))


@given(steps, steps)
def test_more_at_every_look_is_never_better(one: list[int], other: list[int]) -> None:
    mild, grave = Watcher(), Watcher()
    low = high = 0
    for a, b in zip(one, other, strict=False):
        low, high = low + min(a, b), high + max(a, b)
        assert mild.see(low).level.rank <= grave.see(high).level.rank
        for watch in (mild, grave):
            watch.rest(2 * HOUR_S)


@given(
    st.lists(st.tuples(st.sampled_from(sorted({r.signal for r in BUILT_IN})), st.floats(0, 1e9)), max_size=40)
)
def test_one_source_never_makes_dead(seen: list[tuple[str, float]]) -> None:
    watch = Watcher()
    for signal, value in seen:
        for kind in Kind:
            watch.look(Reading(Part(kind, "x"), signal, value, "/sys/x"), probe="the only one")
        watch.rest()
        assert all(verdict.level is not Level.DEAD for verdict in watch.judge())


def test_two_sources_make_dead_and_the_host_is_failing() -> None:
    watch = Watcher()
    for value in (0, 2_000):
        watch.see(value, DISK, "io_errors", probe="kmsg")
        watch.rest()
    assert watch.see(2_000, DISK, "io_errors", probe="kmsg").level is Level.FAILING
    dead = watch.see(1, DISK, "smart_failed", probe="smart")
    assert dead.level is Level.DEAD
    shown = health.of_host("host1", watch.judge(), watch.history, watch.memory, watch.now_s)
    assert (shown.level, shown.text) == (Level.FAILING, dead.reasons[0].text)


@given(steps, st.sampled_from(BUILT_IN))
def test_the_explanation_names_what_decided(increments: list[int], one: Rule) -> None:
    watch, part, value = Watcher(), Part(one.kind, "the part"), 1_000.0
    for increment in increments:
        value += increment if not one.below else -increment
        watch.look(Reading(part, one.signal, max(value, 0), "/proc/source"))
        verdict = watch.judge()[0]
        watch.rest(HOUR_S)
        assert bool(verdict.reasons) == (verdict.level is not Level.HEALTHY)
        for reason in verdict.reasons[:1]:
            assert reason.level is verdict.level
            assert "the part" in reason.text
            assert "limit" in reason.text
            assert reason.source == "/proc/source"
            assert reason.rule in {known.name for known in BUILT_IN}


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=30))
def test_a_counter_that_jumps_back_counts_nothing(values: list[int]) -> None:
    falling = sorted(values, reverse=True)
    watch = Watcher()
    for value in falling:
        assert watch.see(value).level is Level.HEALTHY
        watch.rest()


counted = st.sampled_from(
    [one for one in BUILT_IN if one.measure is Measure.RISE and (one.failing or 0) > 1 and not one.at_once]
)


@given(counted, st.floats(0, 1e6), st.floats(1, 1e12), st.booleans(), st.integers(1, 5))
def test_one_look_at_a_counter_is_no_more_than_a_suspicion(
    one: Rule, stood: float, jump: float, stays: bool, small: int
) -> None:
    """Whether it stays or goes back, and whether a little more comes after it."""
    watch, part = Watcher([one]), Part(one.kind, "the part")
    for value in (stood, stood, stood + jump, *[stood + jump * stays] * 5):
        level = watch.see(value, part, one.signal).level
        assert level.rank <= Level.SUSPECT.rank
        watch.rest(10)
    assert stays or watch.history.series[f"{part.key} {one.signal}"].points[-1].risen == 0
    rest = stood + jump * stays + min(small, (one.failing or 0) / 2 - 1)
    assert watch.see(rest, part, one.signal).level.rank <= Level.SUSPECT.rank


@given(counted, st.floats(1, 3))
def test_what_goes_on_is_failing_at_the_second_look(one: Rule, more: float) -> None:
    watch, part, step = Watcher([one]), Part(one.kind, "the part"), (one.failing or 0) * more
    seen = []
    for look in range(3):
        seen.append(watch.see(look * step, part, one.signal).level)
        watch.rest(10)
    assert seen == [Level.HEALTHY, Level.SUSPECT, Level.FAILING]


def test_a_counter_that_was_misread_once_is_forgotten_when_its_span_is_over() -> None:
    watch = Watcher()
    seen = []
    for value in (0, 4e9, 0, 0):
        seen.append(watch.see(value).level)
        watch.rest(10)
    assert seen == [Level.HEALTHY, Level.SUSPECT, Level.SUSPECT, Level.SUSPECT]
    watch.rest(DAY_S)
    assert watch.see(0).level is Level.HEALTHY


def test_a_counter_that_begins_anew_keeps_what_it_counted() -> None:
    """A driver that was loaded again: 30 errors before it, 25 after it."""
    watch = Watcher()
    for value in (5, 20, 35, 0):
        assert watch.see(value).level is not Level.FAILING
        watch.rest()
    assert watch.see(25).level is Level.FAILING


def test_an_uncorrected_error_needs_no_second_look() -> None:
    watch = Watcher()
    watch.see(0, DIMM, "uncorrected")
    watch.rest()
    assert watch.see(1, DIMM, "uncorrected").level is Level.FAILING


def test_a_drives_own_count_must_stand_twice() -> None:
    watch = Watcher()
    watch.see(0, DISK, "pending")
    watch.rest()
    assert watch.see(4e9, DISK, "pending").level is Level.SUSPECT
    watch.rest()
    assert watch.see(0, DISK, "pending").level is Level.SUSPECT, "as long as such a level takes to calm down"
    watch.rest(HOUR_S)
    assert watch.see(0, DISK, "pending").level is Level.HEALTHY
    for level in (Level.SUSPECT, Level.FAILING):
        watch.rest()
        assert watch.see(120, DISK, "pending").level is level


def test_a_rate_of_one_look_is_no_rate() -> None:
    watch, nic = Watcher(), Part(Kind.NIC, "eth0")
    seen = []
    for look, errors in enumerate((0, 50_000, 50_000, 100_000)):
        watch.look(Reading(nic, "packets_in", look * 1e6, "/sys"), Reading(nic, "crc_errors", errors, "/sys"))
        seen.append(next(one.level for one in watch.judge() if one.part == nic.key))
        watch.rest()
    assert seen == [Level.HEALTHY, Level.SUSPECT, Level.SUSPECT, Level.FAILING]


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60), st.floats(0, 1e6))
def test_series_are_in_order_whatever_comes(seen: list[tuple[int, bool]], keep_s: float) -> None:
    history = Watcher().history
    for number, (value, rebooted) in enumerate(seen):
        sample = Sample("p", (Reading(DIMM, "corrected", value, "/sys"),))
        at_s = 100.0 - number if rebooted else 100.0 + number
        history = health_series.add(history, sample, at_s, f"boot {rebooted}", {"corrected": keep_s})
        (series,) = history.series.values()
        assert health_series.ordered(series)
        assert series.points[-1].value == value


def test_after_a_boot_a_counter_counts_from_zero() -> None:
    watch = Watcher()
    watch.see(5_000)
    watch.rest()
    watch.boot = "boot 2"
    assert watch.see(9).level is Level.HEALTHY
    watch.rest()
    assert watch.see(11).level is Level.SUSPECT, "9 since the boot and 2 more"


def test_healthy_suspect_failing_and_the_sentence() -> None:
    watch = Watcher()
    assert watch.see(4).level is Level.HEALTHY, "what was counted before anybody looked says nothing"
    watch.rest()
    verdict = watch.see(41)
    assert verdict.level is Level.SUSPECT
    texts = [reason.text for reason in verdict.reasons]
    assert "DIMM_A1: 37 corrected errors in the last 1 h, limit 10" in texts
    watch.rest()
    assert watch.see(70).level is Level.FAILING


def test_a_part_that_failed_stays_suspect_until_a_person_says_it_was_mended() -> None:
    watch = Watcher()
    for value in (0, 250, 500):
        watch.see(value)
        watch.rest()
    watch.rest(3 * DAY_S)
    for _ in range(3):
        verdict = watch.see(500)
        watch.rest(DAY_S)
    assert verdict.level is Level.SUSPECT
    assert "nobody said that it was mended" in verdict.reasons[0].text
    watch.history = health_series.forget(watch.history, DIMM.key)
    watch.memory = health.forget(watch.memory, DIMM.key, watch.now_s)
    assert watch.see(500).level is Level.HEALTHY
    assert [one.ended_s > 0 for one in watch.memory.incidents] == [True]


def test_and_after_a_month_by_itself() -> None:
    watch = Watcher()
    levels = []
    for value in (0, 250, *[500] * 34):
        levels.append(watch.see(value).level)
        watch.rest(DAY_S / 4 if value < 500 else DAY_S)
    assert levels[2] is Level.FAILING
    assert levels[3:30] == [Level.SUSPECT] * 27
    assert levels[-1] is Level.HEALTHY


def test_what_was_suspect_lately_is_so_again_at_half_the_limit() -> None:
    fresh, known = Watcher(), Watcher()
    for watch, first in ((fresh, 0), (known, 12)):
        watch.see(0)
        watch.rest()
        watch.see(first)
        for _ in range(3):
            watch.rest(DAY_S)
            assert watch.see(first).level is not Level.FAILING
        watch.rest(HOUR_S)
        assert watch.see(first).level is Level.HEALTHY
        watch.rest()
    assert fresh.see(6).level is Level.HEALTHY
    assert known.see(18).level is Level.SUSPECT


def test_a_part_that_is_gone_is_suspect_only_while_its_probe_sees_the_others() -> None:
    watch, other = Watcher(), Part(Kind.DISK, "sdb")
    both = (Reading(DISK, "ios", 1, "/proc/diskstats"), Reading(other, "ios", 1, "/proc/diskstats"))
    watch.look(*both, probe="block")
    for _ in range(5):
        watch.rest()
        watch.history = health_series.add(watch.history, _blind("block"), watch.now_s, "boot 1", {})
    assert {verdict.level for verdict in watch.judge()} == {Level.HEALTHY}
    for _ in range(5):
        watch.rest()
        watch.look(both[1], probe="block")
    gone = {verdict.name: verdict for verdict in watch.judge()}
    assert (gone["sda"].level, gone["sdb"].level) == (Level.SUSPECT, Level.HEALTHY), (
        "somebody may have taken it out"
    )
    assert gone["sda"].reasons[0].text.startswith("sda: is gone for")
    for errors in (0, 50):
        watch.look(Reading(DISK, "io_errors", errors, "/dev/kmsg"), probe="kmsg")
        watch.rest()
    dead = {verdict.name: verdict for verdict in watch.judge()}
    assert dead["sda"].level is Level.DEAD, "gone, and the kernel could not read it: two sources"


def _blind(probe: str) -> Sample:
    return Sample(probe, (), (Blind(probe, "/proc/diskstats", "garbage"),))


def test_a_level_counts_only_when_it_stayed() -> None:
    watch, cpu = Watcher(), Part(Kind.TEMPERATURE, "coretemp Package id 0")
    seen = []
    for value in (0.5, 1.2, 0.5, *[1.1] * 7):
        seen.append(watch.see(value, cpu, "share_of_max", "hwmon").level)
        watch.rest()
    assert seen[:5] == [Level.HEALTHY] * 5
    assert seen[-1] is Level.SUSPECT


def test_a_link_that_came_back_slower() -> None:
    watch, nic = Watcher(), Part(Kind.NIC, "eno1")
    for value in (25_000, 1_000, 25_000, 1_000):
        assert watch.see(value, nic, "speed_mbit", "nic").level is Level.HEALTHY, "a blink is nothing"
        watch.rest(LOOK_S / 2)
    watch.rest()
    verdict = watch.see(1_000, nic, "speed_mbit", "nic")
    assert verdict.level is Level.SUSPECT
    assert verdict.reasons[0].text == "eno1: speed at 0.04 of its best in the last 30 days, limit below 0.99"


def test_errors_for_each_packet() -> None:
    watch, nic = Watcher(), Part(Kind.NIC, "eno1")
    for packets, errors in ((0, 0), (10_000_000, 9), (20_000_000, 5_000)):
        watch.look(Reading(nic, "packets", packets, "/sys"), probe="nic")
        verdict = watch.see(errors, nic, "errors", "nic")
        watch.rest()
    assert verdict.level is Level.SUSPECT
    assert "errors for each packet" in verdict.reasons[0].text


def test_a_file_system_that_fills_up() -> None:
    watch, folder = Watcher(), Part(Kind.STORAGE, "/var/lib/segue")
    for hour in range(8):
        verdict = watch.see((20 - 2 * hour) * 2**30, folder, "free_bytes", "room")
        watch.rest(HOUR_S)
    assert verdict.level is Level.SUSPECT
    assert (
        "/var/lib/segue: full in 3 h at the pace of the last 6 h, limit below 4 h" in verdict.reasons[0].text
    )


def host(watch: Watcher) -> Health:
    return health.of_host("host1", watch.judge(), watch.history, watch.memory, watch.now_s)


def test_a_redundant_part_makes_its_host_suspect_and_both_make_it_failing() -> None:
    watch = Watcher()
    feeds = [Part(Kind.POWER, name, spares="power") for name in ("PSU1", "PSU2")]
    for alarms, level in (((0, 0), Level.HEALTHY), ((1, 0), Level.SUSPECT), ((1, 1), Level.FAILING)):
        for _ in range(3):
            for part, alarm in zip(feeds, alarms, strict=True):
                watch.look(Reading(part, "alarm", alarm, "/sys/alarm"), probe="hwmon")
            watch.rest()
        assert host(watch).level is level


def test_load_and_time_are_nobodys_failing_hardware() -> None:
    watch = Watcher()
    for _ in range(60):
        watch.look(
            Reading(Part(Kind.PRESSURE, "memory"), "memory_full", 90, "/proc/pressure"), probe="pressure"
        )
        watch.look(Reading(Part(Kind.CLOCK, "system"), "unsynchronised", 1, "adjtimex"), probe="clock")
        watch.rest()
    assert {verdict.level for verdict in watch.judge()} == {Level.SUSPECT}
    assert host(watch).level is Level.HEALTHY


def test_the_built_in_rules_are_sound_and_say_where_their_limits_come_from() -> None:
    assert list(health_rules.faults(BUILT_IN)) == []
    assert len({one.name for one in BUILT_IN}) == len(BUILT_IN)
    assert {one.figure for one in BUILT_IN} == set(FIGURES.values())
    assert {one.measure for one in BUILT_IN} == set(Measure)
    assert {one.kind for one in BUILT_IN} == set(Kind)
    assert all(one.span_s <= 30 * DAY_S for one in BUILT_IN)
    assert any(one.limit(level) for one in BUILT_IN for level in TROUBLE)


def test_an_operators_rule_takes_the_place_of_a_built_in_one() -> None:
    own = Rule("memory-burst", Kind.MEMORY, "corrected", Measure.RISE, "errors", 60, suspect=1, release=0.5)
    rules = health_rules.together((own,), without=("memory-corrected",))
    assert len(rules) == len(BUILT_IN) - 1
    watch = Watcher(rules)
    watch.see(0)
    watch.rest(LOOK_S / 2)
    assert watch.see(1).reasons[0].text == "DIMM_A1: 1 errors in the last 1 min, limit 1"


def test_what_is_wrong_with_a_rule_is_said() -> None:
    bad = Rule(
        "x", Kind.NIC, "errors", Measure.RATIO, "", 0, suspect=5, failing=1, release=2, calm_s=-1, at_least=-1
    )
    found = "\n".join(health_rules.faults((bad, rule("nic-flaps"), rule("nic-flaps")), without=("nothing",)))
    for piece in (
        "`says`",
        "`span_s` is 0",
        "`release` is 2",
        "`per`",
        "`calm_s`",
        "`at_least`",
        "swap them",
    ):
        assert piece in found
    assert "two rules are called nic-flaps" in found
    typo = Rule("y", Kind.MEMORY, "corected", Measure.RISE, "errors", 60, suspect=1)
    assert "corected, which no probe sees of a part of the kind memory; there are: corrected" in next(
        health_rules.faults((typo,))
    )
    assert "`without` names nothing" in found
    assert "it has no limit" in "\n".join(
        health_rules.faults((Rule("x", Kind.NIC, "s", Measure.RISE, "t", 9),))
    )
