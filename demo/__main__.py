"""`python -m demo`: two hosts, a guest under client traffic, moved there and back; true or exit status 1."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from demo import report, story
from segue.errors import SegueError
from segue.lab.api import Lab

NAME = "demo"


def main() -> int:
    """Runs the demo; 0 only if every verdict holds."""
    options = _options()
    # Data goes to stdout; the story is told where it does not mix with it.
    console = Console(stderr=options.json, highlight=False, soft_wrap=True)
    lab = Lab(NAME, on_progress=lambda text: console.print(f"  [dim]{text}[/]"))
    begun_s = time.monotonic()
    try:
        moves = story.tell(lab, console)
    except SegueError as error:
        console.print(f"[bold red]{error.consequence}:[/] {error.what}: {error.why}\n{error.todo}")
        return 1
    finally:
        if not options.keep:
            lab.down()
    data = report.make(moves, time.monotonic() - begun_s)
    report.write(data)
    if options.json:
        sys.stdout.write(report.as_json(data))
    else:
        report.print_verdicts(data, console)
    return 0 if all(verdict["holds"] for verdict in data["verdicts"]) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, to look around")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
