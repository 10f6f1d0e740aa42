"""`python -m segue` is the same as the command `segue`."""

from __future__ import annotations

import sys

from segue.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
