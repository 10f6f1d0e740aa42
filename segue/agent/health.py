"""Builds the watch over this host's health out of the real probes, and says when guests must not be disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from segue.adapters import system
from segue.adapters.clock import RealClock
from segue.adapters.health import (
    block,
    clock,
    cpu,
    hwmon,
    kmsg,
    memory,
    nic,
    own,
    pressure,
    qemu,
    rasdaemon,
    smart,
    storage,
)
from segue.adapters.store.health_file import HealthFile
from segue.agent.config import Config
from segue.agent.guests import Guests
from segue.agent.health_config import HealthConfig
from segue.agent.migrations import Migrations
from segue.agent.notices import Notices
from segue.engine.watch import Ears, Kept, Probe, Traffic, Watch
from segue.model.health import Health, Level
from segue.policy import health_rules

log = structlog.get_logger()


def probes(
    config: HealthConfig, folders: Sequence[Path], state_dir: Path, loop: own.Loop
) -> tuple[Probe, ...]:
    """All of them: here the type checker proves that they fit the port."""
    return (
        memory.Memory(config),
        rasdaemon.Rasdaemon(config),
        cpu.Cpu(config),
        block.Block(config),
        smart.Smart(config),
        nic.Nic(config),
        hwmon.Hwmon(config),
        kmsg.Kmsg(config),
        pressure.Pressure(config),
        clock.Clock(config),
        qemu.Qemu(config),
        storage.Storage(folders),
        loop,
        own.Journal(state_dir),
    )


def build(config: Config, guests: Guests, migrations: Migrations, notices: Notices) -> Watch:
    """The watch, with what an earlier life of the agent has kept."""
    settings, loop = config.health, own.Loop()
    folders = (config.state_dir, config.disks_dir, config.shared_dir)
    found = probes(settings, folders, config.state_dir, loop)
    found = tuple(probe for probe in found if probe.name not in settings.off)

    def changed(seen: Health) -> None:
        bad = [part for part in seen.parts if part.level is not Level.HEALTHY]
        log.warning("health", level=seen.level, why=seen.text, parts={part.part: part.level for part in bad})
        data = {"level": seen.level, "text": seen.text, "parts": bad}
        notices.tell("health", config.name, data)

    return Watch(
        host=config.name,
        boot=system.boot_id(),
        probes=found,
        rules=health_rules.together(settings.rules, settings.without),
        shelf=HealthFile(config.state_dir / "health.json", Kept),
        clock=RealClock(),
        every_s=settings.every_s,
        ears=Ears(lambda: traffic(guests, migrations), changed, loop.late),
    )


def traffic(guests: Guests, migrations: Migrations) -> Traffic:
    """What guests do here. A target cannot tell a blackout from the rounds before it: it says that they move."""
    if migrations.standing():
        return Traffic.BLACKOUT
    return Traffic.MOVING if guests.moving() else Traffic.CALM
