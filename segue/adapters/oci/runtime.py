"""What runs containers on this host."""

from __future__ import annotations

import asyncio
import subprocess

from segue.adapters.oci.container import CRUN


async def version() -> str:
    """`crun 1.21`; empty on a host that has none."""
    try:
        process = await asyncio.create_subprocess_exec(
            CRUN, "--version", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return ""
    out, _ = await process.communicate()
    first = out.decode(errors="replace").splitlines()[:1]
    return " ".join(first[0].split()).replace("version ", "") if first else ""
