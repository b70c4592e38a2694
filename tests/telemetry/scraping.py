"""What /metrics of a server tells, parsed."""

from __future__ import annotations

import aiohttp
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from holdfast_server.app import Server

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str, *, open_metrics: bool = False) -> None:
        parse = parse_open_metrics if open_metrics else parse_text
        self.samples = [sample for family in parse(text) for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name with at least these labels; 0 where there is none."""
        found = self.all(name, **labels)
        assert len(found) <= 1, found
        return found[0] if found else 0.0

    def all(self, name: str, **labels: str) -> list[float]:
        """The samples of this name with at least these labels."""
        wanted = labels.items()
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and wanted <= sample.labels.items()
        ]

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


def url(server: Server, path: str = "/metrics") -> str:
    return f"http://127.0.0.1:{server.metrics_port}{path}"


async def get(
    server: Server, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str, str]:
    """Status, content type and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url(server, path), headers=headers) as answer,
    ):
        return answer.status, answer.headers["content-type"], await answer.text()


async def scrape(server: Server) -> Scrape:
    status, _, text = await get(server)
    assert status == 200, text
    return Scrape(text)
