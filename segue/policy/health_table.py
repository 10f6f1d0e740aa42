"""The built-in rules, one a line, with where each limit comes from. It must hold nothing that is not in the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from segue.model.health import Kind, Measure, Rule

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
LONG: Final = "30d"
"""As long as incidents are remembered."""
UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S}

FIGURES: Final[Mapping[str, str]] = {
    "ours": "our own choice: no figure from the field is known",
    "mcelog": "mcelog.conf: 10 corrected errors per DIMM and 100 per socket in 24 h; 1 uncorrected",
    "rasdaemon": "rasdaemon: a page is retired at 50 corrected errors in 24 h, a core at 18; 100 MiB poisoned",
    "dell": "Dell logs pages given up from 64 KiB on; rasdaemon counts 100 MiB as much",
    "backblaze": "Backblaze, 67,814 drives: 5, 187, 188, 197, 198 above 0 are looked into; smartd warns of 197, 198",
    "smartd": "smartd: alert where the drive's own verdict is FAILED",
    "nvme": "NVMe: critical warning, spare below its threshold; common alert rules: media errors, above 70 C",
    "fast20": "FAST 2020, 380,000 drives: latency foretells more than SMART does; the limit is our own",
    "mixin": "Prometheus node-exporter mixin: full in 4 h, bond or RAID degraded, clock off by 50 ms, 1 % of packets",
    "corropt": "CorrOpt (SIGCOMM 2017): corruption is steady and independent of load, 1 % is far too late for guests",
    "ipmi": "ipmi_exporter's rules: a sensor's state is critical, a fan at 0 rpm for 5 min",
    "hwmon": "kernel hwmon: the chip's own maximum and critical temperature; above it for 5 min",
    "proxlb": "ProxLB: pressure of 0.20",
    "doctor": "two durable writes are in every blackout",
}

TABLE: Final = """
# how, of what: the limits for suspect, failing, dead, within the span; where they come from | what it is in words
[memory]
rise        memory-corrected    corrected            24h 10    100    -    mcelog | corrected errors
rise        memory-burst        corrected            1h  10    50     -    rasdaemon | corrected errors
rise        memory-uncorrected  uncorrected          24h -     1      -    mcelog | uncorrected errors
rise        memory-recorded     recorded_corrected   24h 10    100    -    mcelog | corrected errors on record
rise        memory-recorded-bad recorded_uncorrected 24h -     1      -    mcelog | uncorrected errors on record
rise        memory-poisoned     poisoned_bytes       24h 65536 104857600 -    dell | bytes of pages given up
rise        memory-failure      memory_failures      24h -     1      -    mcelog | memory failures in the kernel's log
rise        memory-log-corrected log_corrected       24h 10    100    -    mcelog | corrected errors in the log
rise        memory-log          log_uncorrected      24h -     1      10   mcelog | uncorrected errors in the log
absent      memory-gone         corrected            2m  2m    -      -    ours | is gone
[cpu]
rise        cpu-machine-check   machine_checks       24h -     1      -    ours | machine check exceptions
rise        cpu-recorded        recorded_checks      24h 18    100    -    rasdaemon | machine checks on record
rise        cpu-throttled       throttled            10m 10    -      -    ours | throttlings by heat
best<       cpu-lost            cores_online         30d 0.999 0.5    -    ours | cores online
[disk]
steady      disk-verdict        smart_failed         0s  -     1      -    smartd | its own verdict is FAILED:
steady      disk-pending        pending              0s  1     100    -    backblaze | sectors that cannot be read:
steady      disk-offline        offline_uncorrectable 0s  1     100    -    backblaze | sectors lost:
rise        disk-uncorrectable  uncorrectable        24h 1     10     -    backblaze | errors that it could not correct
rise        disk-reallocated    reallocated          24h 1     50     -    backblaze | sectors replaced
rise        disk-timeouts       timeouts             24h 10    1000   -    backblaze | commands that timed out
steady      disk-warning        critical_warning     0s  -     1      -    nvme | critical warning
steady<     disk-spare          spare_of_threshold   0s  1.5   1      -    nvme | spare blocks, of the least it needs:
steady      disk-worn           used_percent         0s  100   -      -    nvme | percent of its rated life used:
steady      disk-hot            temperature_c        30m 70    -      -    nvme | degrees Celsius:
count       disk-io-errors      io_errors            1h  1     10     1000 ours | I/O errors in the kernel's log
count       disk-medium-errors  medium_errors        24h 1     5      -    backblaze | medium errors in the kernel's log
rise        disk-device-errors  device_errors        1h  10    100    -    ours | requests that the device failed
ratio/ios   disk-slow           busy_ms              10m 100   1000   -    fast20 | ms for each request
steady      disk-degraded       missing_members      1m  1     -      -    mixin | members missing:
absent      disk-gone           ios                  2m  2m    -      2m   ours | is gone
[storage]
steady<     storage-full        free_share           5m  0.05  0.005  -    mixin | free share
left<       storage-filling     free_bytes           6h  4h    -      -    mixin | full
steady      storage-slow        latency_s            5m  0.5   10     -    ours | seconds for one small write:
steady      storage-broken       unwritable           1m  -     1      -    ours | it takes no writes:
count       storage-errors      file_system_errors   24h 1     10     -    ours | file system errors in the kernel's log
[nic]
rise        nic-flaps           carrier_changes      1h  4     40     -    ours | changes of the carrier
rise        nic-crc-steady      crc_errors           1h  10    -      -    corropt | CRC errors
ratio/packets_in nic-crc             crc_errors           10m 1e-6  1e-3   -    corropt | CRC errors for each packet
ratio/packets nic-errors          errors               10m 1e-4  1e-2   -    corropt | errors for each packet
ratio/packets nic-drops           drops                10m 1e-2  -      -    mixin | drops for each packet
best<       nic-slow            speed_mbit           30d 0.99  -      -    ours | speed
best<       nic-down            carrier              30d 0.5   -      -    ours | carrier
best<       bond-half           members_up           30d 0.99  0.01   -    mixin | links up
rise        nic-stuck           transmit_timeouts    24h 1     5      -    ours | transmit queues that got stuck
absent      nic-gone            carrier              2m  2m    -      2m   ours | is gone
[power]
steady      power-alarm         alarm                1m  -     1      -    ipmi | alarm
steady      power-warning       warning              1m  1     -      -    ipmi | warning
best<       power-gone          present              30d -     0.5    -    ours | presence
[fan]
steady      fan-alarm           alarm                5m  -     1      -    ipmi | alarm
steady      fan-warning         warning              5m  1     -      -    ipmi | warning
best<       fan-gone            present              30d -     0.5    -    ours | presence
best<       fan-stopped         rpm                  30d -     0.05   -    ipmi | speed
[temperature]
steady      hot                 share_of_max         5m  1     -      -    hwmon | share of its highest temperature:
steady      too-hot             share_of_critical    1m  -     1      -    hwmon | share of its critical temperature:
steady      heat-alarm          critical_alarm       1m  -     1      -    hwmon | critical alarm
steady      heat-warning        warning              5m  1     -      -    ipmi | warning
[kernel]
rise        hung-tasks          hung_tasks           1h  1     20     -    ours | hung tasks
rise        kernel-bugs         bugs                 24h 1     3      -    ours | bugs and oopses
rise        lockups             lockups              24h 1     10     -    ours | lockups and stalls of a processor
[pressure]
steady      memory-pressure     memory_full          10m 20    -      -    proxlb | % of the time all wait for memory:
steady      io-pressure         io_full              10m 50    -      -    ours | % of the time all wait for storage:
steady      cpu-pressure        cpu_some             30m 80    -      -    ours | % of the time some wait for a CPU:
[clock]
steady      clock-free          unsynchronised       10m 1     -      -    mixin | nobody sets it:
steady      clock-off           offset_s             10m 0.05  -      -    mixin | seconds off:
[guest]
steady      guest-stalls        stalled              1m  1     -      -    ours | its QEMU waits in the kernel:
[agent]
steady      agent-lags          loop_lag_s           5m  0.25  -      -    ours | seconds late:
steady      journal-slow        sync_s               30m 0.05  -      -    doctor | seconds for a durable write:
"""
MEASURES: Final[Mapping[str, Measure]] = {
    "rise": Measure.RISE,
    "count": Measure.RISE,
    "ratio": Measure.RATIO,
    "steady": Measure.STEADY,
    "best": Measure.OF_BEST,
    "left": Measure.TIME_LEFT,
    "absent": Measure.ABSENT,
}
RELEASE: Final[Mapping[Measure, float]] = {
    Measure.RISE: 0.5,
    Measure.RATIO: 0.5,
    Measure.OF_BEST: 0.999,
    Measure.TIME_LEFT: 0.5,
}
CALM_S: Final[Mapping[Measure, float]] = {
    Measure.RATIO: HOUR_S,
    Measure.STEADY: 5 * MINUTE_S,
    Measure.OF_BEST: 10 * MINUTE_S,
    Measure.TIME_LEFT: HOUR_S,
}
"""A rise is calm after another span of its own."""
RATIO_LEAST: Final[Mapping[str, float]] = {
    "disk-slow": 10_000,
    "nic-crc": 10,
    "nic-errors": 10,
    "nic-drops": 1_000,
}
"""Below so much of the signal itself a ratio says nothing: one bad packet out of ten is no rate."""


def number(text: str) -> float | None:
    """A limit or a span: `10`, `1e-4`, `24h`; `-` for none."""
    if text == "-":
        return None
    if text[-1] in UNITS:
        return float(text[:-1]) * UNITS[text[-1]]
    return float(text)


def _rule(kind: Kind, line: str) -> Rule:
    row, _, says = line.partition("|")
    how, name, signal, span, suspect, failing, dead, figure = row.split()
    how, _, per = how.partition("/")
    measure = MEASURES[how.rstrip("<")]
    span_s = number(span) or 0.0
    return Rule(
        name=name,
        kind=kind,
        signal=signal,
        measure=measure,
        says=says.strip(),
        span_s=span_s,
        suspect=number(suspect),
        failing=number(failing),
        dead=number(dead),
        below=how.endswith("<"),
        per=per,
        at_least=RATIO_LEAST.get(name, 0.0),
        release=RELEASE.get(measure, 0.9),
        calm_s=CALM_S.get(measure, span_s),
        at_once=how == "count",
        figure=FIGURES[figure],
    )


def _rules(table: str) -> Iterator[Rule]:
    for section in table.split("\n[")[1:]:
        kind, *lines = section.strip().splitlines()
        yield from (_rule(Kind(kind.rstrip("]")), line) for line in lines)


BUILT_IN: Final[tuple[Rule, ...]] = tuple(_rules(TABLE))


def printed() -> str:
    """The table as the docs have it."""
    rows = ["| rule | part | signal | span | suspect | failing | dead |", "|---|---|---|---|---|---|---|"]
    for section in TABLE.split("\n[")[1:]:
        kind, *lines = section.strip().splitlines()
        for line in lines:
            how, name, signal, *limits, _ = line.partition("|")[0].split()
            what, _, per = how.rstrip("<").partition("/")
            measured = f"{what} of `{signal}`" + (f" for each of `{per}`" if per else "")
            less = "below " if how.endswith("<") else ""
            shown = [limits[0], *("" if limit == "-" else less + limit for limit in limits[1:])]
            rows.append(f"| {name} | {kind.rstrip(']')} | {measured} | {' | '.join(shown)} |")
    return "\n".join(rows)
