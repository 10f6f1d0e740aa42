"""A step of a maintenance that is a command on the host: asked for once for each attempt, and followed to its end.

It must never ask for one again whose end is not known.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from segue.controller.host_run import Run
from segue.errors import Refused
from segue.model.job import Job, JobState
from segue.model.maintenance import Step

log = structlog.get_logger()
POLL_S: Final = 1.0
OUTPUT_CHARS: Final = 4000
"""Of a command's output that the report has; the agent has more."""


async def run(run_: Run, step: Step) -> str:
    """How long it took, or that there was nothing to do. Raises Refused where the last attempt failed."""
    while True:
        await run_.save(acting=True)
        job = await _follow(run_, step)
        run_.note(job=job.id, output=_shown(job))
        if job.state is JobState.DONE:
            return _took(job)
        if job.state is JobState.NOTHING:
            run_.note(skipping=not any(passed.job and passed.ok for passed in run_.work.passed))
            return job.why
        if job.state is JobState.LOST or run_.work.attempt >= step.retries:
            raise Refused(what=f"command {job.id}", why=job.why, todo="Look at its output, and at the host.")
        log.info("a command is tried again", host=run_.host, job=job.id, why=job.why)
        await run_.save(attempt=run_.work.attempt + 1)


async def _follow(run_: Run, step: Step) -> Job:
    path, wish = f"/v1/jobs/{run_.number()}", {"script": step.script, "within_s": step.limit_s}
    job = msgspec.convert(await run_.ask("PUT", path, wish), Job)
    while not job.ended:
        await asyncio.sleep(POLL_S)
        job = msgspec.convert(await run_.ask("GET", path), Job)
    return job


def _took(job: Job) -> str:
    return f"{job.ended_s - job.begun_s:.0f} s" if job.ended_s >= job.begun_s else ""


def _shown(job: Job) -> str:
    text = job.head + (f"\n[... {job.output_bytes} bytes in all ...]\n{job.tail}" if job.tail else "")
    return text if len(text) <= OUTPUT_CHARS else f"[...]{text[-OUTPUT_CHARS:]}"
