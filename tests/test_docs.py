"""What the pages promise exists: their links, the commands they quote, every key, exit code, endpoint, option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from segue.agent import api_app, api_health, api_metrics, api_update, api_user, config, health_config
from segue.agent import api_load as agent_load
from segue.cli import fleet_file, follow, main, output
from segue.controller import api_balance, balance
from segue.controller.main import PARTS
from segue.model import metrics
from segue.model.health import Rule
from segue.policy import health_table

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE: Final = ROOT / "docs" / "reference"
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`(segue [^`]+)`")
COMMAND: Final = re.compile(r"^\s*(?:[$#] )?(?:sudo )?(segue [a-z-].*)$", re.MULTILINE)
SHELL: Final = frozenset({"|", ">", "<", "&&", ";", "2>&1", "#"})
ends_of_a_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@ends_of_a_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        assert not anchor or anchor in anchors(target), f"{path} has no heading for #{anchor}"


def words(line: str) -> list[str]:
    """The words of a command up to where the shell takes over."""
    found = []
    for word in shlex.split(line, comments=True):
        if word in SHELL:
            break
        found.append(word)
    return found[1:]


def leaf(argv: list[str]) -> tuple[Any, list[str]]:
    """The command that these words lead to, and what is left of them for it."""
    command: Any = get_command(main.app)
    while hasattr(command, "list_commands"):
        context = command.make_context("segue", [], resilient_parsing=True)
        if not argv or argv[0].startswith("-"):
            return command, argv
        inner = command.get_command(context, argv[0])
        assert inner is not None, f"there is no command {argv[0]}"
        command, argv = inner, argv[1:]
    return command, argv


def options(command: Any) -> set[str]:
    context = command.make_context("segue", [], resilient_parsing=True)
    params = command.get_params(context)
    return {opt for param in params for opt in (*param.opts, *param.secondary_opts) if opt.startswith("-")}


def demand_parses(line: str) -> None:
    """As the command line itself would do it, up to where the command would begin its work."""
    command, rest = leaf(words(line))
    if {"--help", "--version", "--install-completion", "--show-completion"} & set(rest):
        demand_options(line)
        return
    context = command.make_context("segue", list(rest))
    inner = context.params.get("command")
    if inner and (argv := [word for word in inner if word != "--"])[0] == "segue":
        demand_parses(shlex.join(argv))


def demand_options(line: str) -> None:
    """A command named in a sentence may leave arguments out, but what it names must exist."""
    command, rest = leaf(words(line))
    named = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
    assert named <= options(command), f"{line}: no option {named - options(command)}"


def quoted(page: Path) -> Iterator[str]:
    for block in FENCE.findall(page.read_text()):
        yield from COMMAND.findall(block.replace("\\\n", " "))


@ends_of_a_page
def test_quoted_commands_parse(page: Path) -> None:
    for line in quoted(page):
        try:
            demand_parses(line)
        except Exception as error:  # noqa: BLE001 - whatever kind of refusal the parser chooses
            pytest.fail(f"`{line}`: {error!r} {getattr(error, 'message', '')}")
    for line in INLINE.findall(FENCE.sub("", page.read_text())):
        demand_options(line)


@pytest.mark.parametrize(
    "line",
    [
        "segue vm lst",
        "segue migrate web1 --all-of",
        "segue migrate web1 --too host2",
        "segue lab exec c -- segue vm go",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever kind of refusal the parser chooses
        demand_parses(line)


def every_command(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if path:
        yield " ".join(path), command
    if hasattr(command, "list_commands"):
        context = command.make_context("segue", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from every_command(command.get_command(context, name), (*path, name))


EVERYWHERE: Final = {"--help", "--json"}
"""The head of the page tells of them."""


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (REFERENCE / "cli.md").read_text()
    for name, command in every_command(get_command(main.app)):
        title = f"### segue {name}\n"
        if hasattr(command, "list_commands"):
            continue
        assert title in page, title
        section = page.split(title)[1].split("\n## ")[0].split("\n### ")[0]
        missing = {option for option in options(command) - EVERYWHERE if f"`{option}" not in section}
        assert not missing, f"segue {name}: {missing}"


def test_every_command_has_an_example() -> None:
    for name, command in every_command(get_command(main.app)):
        if not hasattr(command, "list_commands"):
            assert "Example" in (command.help or ""), name


def test_every_key_of_the_agent_is_in_its_page() -> None:
    page = (REFERENCE / "agent.md").read_text()
    keys = [
        field.name
        for shape in (config.Config, config.Tls, config.NetworkConfig, health_config.HealthConfig, Rule)
        for field in fields(shape)
    ]
    assert not [key for key in keys if f"`{key}`" not in page]


def test_every_exit_code_is_in_its_page() -> None:
    page = (REFERENCE / "exit-codes.md").read_text()
    codes = {*main.EXIT_CODES.values(), *main.CONSEQUENCE_CODES.values(), *follow.EXIT.values()}
    codes |= {follow.IN_DOUBT, output.DETACHED}
    assert not [code for code in sorted(codes) if f"\n| {code} |" not in page]


def test_every_endpoint_is_in_its_page() -> None:
    page = (REFERENCE / "api.md").read_text()
    parts = (
        api_user.open_router, api_user.router, api_app.router, api_update.router,
        api_health.router, agent_load.router, api_metrics.router,
    )  # fmt: skip
    for route in (route for part in parts for route in part.routes):
        path = getattr(route, "path")  # noqa: B009 - the base class of routes has none
        assert f"`{path}`" in page, path
        for method in getattr(route, "methods", None) or ():
            assert f"| {method} | `{path}`" in page, f"{method} {path}"


def test_every_endpoint_of_the_controller_is_in_its_page() -> None:
    page = (REFERENCE / "controller-api.md").read_text()
    for route in (route for part in PARTS for route in part.router.routes):
        path = getattr(route, "path")  # noqa: B009 - the base class of routes has none
        for method in getattr(route, "methods", None) or {"websocket"}:
            assert f"| {method} | `{path}`" in page, f"{method} {path}"


def test_every_key_of_the_balancer_is_in_its_page() -> None:
    page = (REFERENCE / "balance.md").read_text()
    keys = [field.name for field in fields(api_balance.ChangeOrders)]
    assert not [key for key in keys if f"`{key}`" not in page]
    assert f"`{balance.FORGONE}`" in page


def test_every_figure_is_in_its_page() -> None:
    page = (REFERENCE / "metrics.md").read_text()
    for title, table in (("## Agents", metrics.AGENT), ("## Controllers", metrics.CONTROLLER)):
        assert metrics.page(table) in page.split(title)[1].split("\n## ")[0]


def test_every_key_of_a_fleet_file_is_in_its_page() -> None:
    page = (REFERENCE / "fleet-file.md").read_text()
    shapes = [
        fleet_file.FleetText,
        fleet_file.HostText,
        fleet_file.GuestText,
        fleet_file.RuleText,
        fleet_file.UplinkText,
        fleet_file.DomainText,
    ]
    assert not [key for shape in shapes for key in shape.__struct_fields__ if f"`{key}`" not in page]


def test_the_fleet_of_the_how_to_can_be_planned_for(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "plan-on-a-copy.md").read_text()
    path = tmp_path / "fleet.yaml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0])
    fleet, faults = fleet_file.load(str(path))
    assert len(fleet.guests) == 5
    assert not [fault for fault in faults if "batch1" not in fault.what]


def test_every_rule_of_health_is_in_its_page() -> None:
    page = (REFERENCE / "health.md").read_text()
    assert health_table.printed() in page
    assert not [probe for probe in health_config.PROBES if f"| `{probe}` |" not in page]
