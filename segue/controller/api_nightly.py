"""The API's part for the audit: could every host and failure domain be emptied?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from segue.adapters.http.access import Caller
from segue.controller import api_doc, gate, nightly
from segue.controller.app import controller_of
from segue.errors import Kind, Refused
from segue.model.plan import Audited, Drainable
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.get("/drains/audit")
async def last(request: Request, _: Surveyor) -> Audited:
    """What the leader found when it last asked, which it does once a day."""
    kept = controller_of(request).mirror.drain_audit.get("")
    if kept is None:
        raise Refused(
            what="there is no audit yet",
            why="no leader has led for long enough",
            todo="Ask now: `segue plan audit`.",
            kind=Kind.NOT_FOUND,
        )
    return kept.value


@router.post("/drains/audit")
async def now(
    request: Request, _: Surveyor, per_host: Annotated[int, Query(ge=0, le=64)] = 4
) -> list[Drainable]:
    """The same, as the fleet is now; nothing of it is kept. Thousands of hosts take half a minute."""
    return await nightly.ask(controller_of(request), per_host)
