"""`segue balance`: what the balancer would do and why, having it done, and what it may do by itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from segue.cli import draining, fleet, output, task, values
from segue.cli.output import Format, Output
from segue.model.balance import Mode

app = typer.Typer(
    help="The load: plan moves that level it, carry them out, let that happen by itself.",
    no_args_is_help=True,
    add_completion=False,
)
Moves = Annotated[int | None, typer.Option(min=1, help="At most so many moves; else as it was set.")]
Margin = Annotated[float | None, typer.Option(min=0, help="A move gains so many times its cost.")]
Parallel = Annotated[int | None, typer.Option(min=1, max=16, help="Moves at once from and to each host.")]
Blackout = Annotated[str, typer.Option(help="The longest blackout of each guest; else as it was set.")]
PLAN: Final = ("WAVE", "GUEST", "FROM", "TO", "WHEN", "BLACKOUT", "GAIN", "COST", "WHY")
BOOKED: Final = ("WHEN", "GUEST", "FROM", "TO", "BLACKOUT", "PLANNED", "BROUGHT", "WHY")


@app.command()
def plan(moves: Moves = None, margin: Margin = None, form: Output = Format.TABLE) -> None:
    """Show what would be moved now to level the load and mend broken rules, and why; nothing is begun.

    Example: segue balance plan
    """
    wish = {"moves_most": moves, "margin": margin}
    _show_plan(fleet.load().demand_controller().call("POST", "/balance/plan", wish), form)


@app.command()
def apply(
    moves: Moves = None,
    margin: Margin = None,
    parallel: Parallel = None,
    max_blackout: Blackout = "",
    detach: draining.Detach = False,
    form: Output = Format.TABLE,
) -> None:
    """Plan, and carry the plan out: each move as it was planned, or not at all where the fleet has changed meanwhile.

    Exit code: 0 all was moved, or there was nothing to move; 1 not all was.

    Examples:

        segue balance apply

        segue balance apply --moves 3 --max-blackout 100ms
    """
    controller = fleet.load().demand_controller()
    wish: dict[str, Any] = {"moves_most": moves, "margin": margin, "parallel": parallel}
    if max_blackout:
        wish["blackout_s"] = values.duration_s(max_blackout)
    planned = controller.call("POST", "/balance/plan", wish)
    if not planned["plan"]["plan"]["waves"]:
        _show_plan(planned, form)
        raise typer.Exit(1 if planned["plan"]["plan"]["staying"] else 0)
    begun = controller.call("POST", "/balance/tasks", wish)
    for move in begun["wish"]["moves"]:
        output.say(f"{move['guest']}: {move['source']} to {move['target']}: {move['why']}")
    if detach:
        output.say(f"Task {begun['id'][:8]}.  Watch: segue task watch {begun['id'][:8]}")
        return
    raise typer.Exit(task.follow(controller, begun["id"], form))


@app.command()
def status(form: Output = Format.TABLE) -> None:
    """Show what the balancer may do, what it saw last, and what its moves were to bring and brought.

    Example: segue balance status
    """
    seen = fleet.load().demand_controller().call("GET", "/balance")
    booked = [_booked(move) for move in seen["bookings"]]
    if form is not Format.TABLE:
        output.show(seen, form)
        return
    state, orders = seen["state"], seen["orders"]
    looked = values.show_time(state["looked_s"]) if state["looked_s"] else "not yet"
    then = f", {state['after']:.3f} with {len(state['moves'])} moves" if state["moves"] else ""
    rows = [
        ("mode", orders["mode"]),
        ("looked", looked),
        ("imbalance", f"{state['imbalance']:.3f}{then}"),
        ("says", state["why"] or "-"),
        ("margin", f"{seen['margin']:.2f} (set: {orders['settings']['margin']:g})"),
        ("under way", f"task {seen['task'][:8]}" if seen["task"] else "nothing"),
    ]
    rows += [("would move", _advice(move)) for move in state["moves"]]
    rows += [("stays", f"{guest}: {why}") for guest, why in sorted(state["staying"].items())]
    output.show(seen, form, rows, ("BALANCER", ""))
    if booked:
        output.show(seen, form, booked, BOOKED)


@app.command()
def mode(name: Annotated[Mode, typer.Argument(help="off, advise (look and say), or auto (move).")]) -> None:
    """Say what the balancer does by itself.

    Example: segue balance mode auto
    """
    made = fleet.load().demand_controller().call("PATCH", "/balance", {"mode": name})
    output.say(f"The balancer's mode is {made['mode']}.")


@app.command("set")
def set_(
    start_at: Annotated[float | None, typer.Option(help="Imbalance from which it acts.")] = None,
    stop_at: Annotated[float | None, typer.Option(help="Imbalance at which it stops.")] = None,
    looks: Annotated[
        int | None, typer.Option(help="It acts after so many looks in a row with a reason.")
    ] = None,
    every: Annotated[str, typer.Option(help="How often it looks.")] = "",
    margin: Margin = None,
    moves: Moves = None,
    cooldown: Annotated[str, typer.Option(help="A guest that was moved is left alone for so long.")] = "",
    moves_per_day: Annotated[
        int | None, typer.Option(help="A guest is moved at most so often in a day.")
    ] = None,
    blackout_per_day: Annotated[str, typer.Option(help="And stands still at most for so long.")] = "",
    parallel: Parallel = None,
    max_blackout: Blackout = "",
    form: Output = Format.YAML,
) -> None:
    """Say how the balancer judges; what is left out stays. Shows all that is set.

    Example: segue balance set --start-at 0.2 --cooldown 1h --moves-per-day 2
    """
    times = {
        "look_s": every,
        "cooldown_s": cooldown,
        "blackout_s_per_day": blackout_per_day,
        "blackout_s": max_blackout,
    }
    wish = {
        "start_at": start_at,
        "stop_at": stop_at,
        "looks": looks,
        "margin": margin,
        "moves_most": moves,
        "moves_per_day": moves_per_day,
        "parallel": parallel,
        **{key: values.duration_s(text) for key, text in times.items() if text},
    }
    made = fleet.load().demand_controller().call("PATCH", "/balance", wish)
    output.show(made, form, [(key, str(value)) for key, value in made.items()], ("BALANCER", ""))


def _show_plan(planned: dict[str, Any], form: Format) -> None:
    found = planned["plan"]
    rows = [
        (
            str(number),
            move["guest"],
            move["source"],
            move["target"],
            f"{move['begins_s']:.0f} to {move['ends_s']:.0f} s",
            f"{move['outlook']['blackout_s'] * 1e3:.0f} ms",
            f"{move['gain']:.3f}",
            f"{move['cost']:.3f}",
            move["why"],
        )
        for number, wave in enumerate(found["plan"]["waves"], start=1)
        for move in wave["moves"]
    ]
    stays = sorted(found["plan"]["staying"].items())
    rows += [("", guest, "", "stays", "", "", "", "", why) for guest, why in stays]
    output.show(planned, form, rows, PLAN)
    if form is Format.TABLE:
        output.say(f"Imbalance {found['before']:.3f}, then {found['after']:.3f}. {found['why']}".rstrip())
        if planned["silent"]:
            output.say(f"No load is known of {', '.join(planned['silent'])}: nothing is moved there.")


def _advice(move: dict[str, Any]) -> str:
    return f"{move['guest']}: {move['source']} to {move['target']}: {move['why']}"


def _booked(move: dict[str, Any]) -> tuple[str, ...]:
    elsewhere = "it was elsewhere" if move["looked_s"] else "not looked at yet"
    return (
        values.show_time(move["ended_s"]),
        move["guest"],
        move["source"],
        move["target"],
        values.show_ms(move["blackout_s"]),
        f"{move['planned']:.3f}",
        elsewhere if move["realised"] is None else f"{move['realised']:.3f}",
        move["why"],
    )
