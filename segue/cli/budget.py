"""The operator's budget for a migration, as options of a command; and the limits that they make."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segue.cli import values
from segue.model.integrity import Verify
from segue.model.ladder import OverBudget

MaxBlackout = Annotated[
    str, typer.Option(help="Abort rather than stand still for longer; else 300ms, and 3s for an application.")
]
Deadline = Annotated[str, typer.Option(help="Abort when it does not run on the target by then.")]
MaxBandwidth = Annotated[
    str, typer.Option(help="Cap for the copy while the guest runs, such as 1gbit or 100MiB; 0: none.")
]
MaxSlowdown = Annotated[str, typer.Option(help="The most that a guest which writes too fast is throttled.")]
Ladder = Annotated[
    str,
    typer.Option(
        help="What may be done for a guest that does not fit: gentle, balanced, firm, or rungs by comma, out "
        "of wait, channels, compress, throttle, post-copy."
    ),
]
Over = Annotated[
    OverBudget, typer.Option(help="When time is up and the pause would be too long: abort, or accept it.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Begin although the forecast says that the budget cannot be kept.")
]
MaxStall = Annotated[str, typer.Option(help="Abort when nothing arrives for this long.")]
PostCopyAfter = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Move the guest after so many rounds, and the rest of its memory after it; 0: at once. Until all of it "
        "is there the guest depends on both hosts. An application's memory has all gone by then, and is put in place "
        "once it runs.",
    ),
]
MaxRounds = Annotated[int, typer.Option(min=2, help="Count the time as up after so many rounds.")]
Comparing = Annotated[
    Verify, typer.Option(help="How much of its memory is compared on both hosts before it runs there.")
]
Notice = Annotated[
    str,
    typer.Option(
        help="How long programs in the guest that registered get to be ready; 0: as long as they asked for."
    ),
]


StoragePostcopy = Annotated[
    bool,
    typer.Option(
        "--storage-post-copy",
        help="Leave now: the guest runs there first, and its disks follow while this host must not go.",
    ),
]


def blackout(text: str) -> dict[str, Any]:
    """What was said of it; nothing where nothing was. Raises Refused for what is no duration."""
    return {"blackout_s": values.duration_s(text), "blackout_said": True} if text else {}


def limits(
    max_blackout: str,
    deadline: str,
    bandwidth: str,
    slowdown: str,
    ladder: str,
    over: OverBudget,
    stall: str,
    rounds: int,
    verify: Verify,
    notice: str,
    post_copy_after: int | None,
    storage_post_copy: bool,
) -> dict[str, Any]:
    """The body of a request. Raises Refused for what cannot be understood."""
    return {
        **blackout(max_blackout),
        "deadline_s": values.duration_s(deadline),
        "bandwidth_bytes_per_s": values.rate_bytes_per_s(bandwidth),
        "slowdown_max": values.share(slowdown),
        "ladder": values.ladder(ladder),
        "over_budget": over,
        "stall_s": values.duration_s(stall),
        "rounds_max": rounds,
        "post_copy_after": -1 if post_copy_after is None else post_copy_after,
        "verify": verify,
        "storage_postcopy": storage_post_copy,
        "notice_s": values.duration_s(notice),
    }
