"""The controller's pages for Prometheus: its figures, and where the agents are whose figures it should read, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from segue.adapters.http import metrics_page
from segue.adapters.http.access import Caller
from segue.controller import api_doc, fleet, gate
from segue.controller.app import controller_of
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
router = APIRouter(responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class Target:
    """One entry of Prometheus' HTTP service discovery."""

    targets: list[str]
    labels: dict[str, str]


@router.get(metrics_page.PATH, response_class=PlainTextResponse)
async def metrics(request: Request, _: Surveyor) -> Response:
    """All figures of this controller, as text for Prometheus."""
    return await shown(request)


@router.get("/v1/metrics/targets")
async def targets(request: Request, _: Surveyor) -> list[Target]:
    """The fleet's agents as Prometheus' `http_sd_configs` reads them; a host's labels as `__meta_segue_label_...`."""
    mirror = controller_of(request).mirror
    hosts = [report for report in mirror.reports.values() if not fleet.is_revoked(mirror, report.name)]
    return [
        Target(
            [urlsplit(report.url).netloc],
            {
                "__scheme__": "https",
                "__meta_segue_host": report.name,
                **{_meta(name): value for name, value in fleet.labels(mirror, report.name).items()},
            },
        )
        for report in hosts
    ]


def _meta(label: str) -> str:
    word = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in label)
    return f"__meta_segue_label_{word}"


async def shown(request: Request) -> Response:
    """The same figures, for the listener that the operator opened to everybody who reaches it."""
    return metrics_page.page(controller_of(request).meter, request)
