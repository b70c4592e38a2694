"""RivetKit's clients come back when the server is killed, if somebody keeps its port open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.clients import VERSIONS, need_clients, run_script
from tests.server.process import ROOT
from tests.server.test_supervisor import Supervised

APP = "from tests.gateway.actors import registry"


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(
            version, marks=[] if version in (VERSIONS[0], VERSIONS[-1]) else pytest.mark.slow
        )
        for version in VERSIONS
    ],
)
def test_a_connection_goes_on_after_a_kill_of_the_server(tmp_path: Path, version: str) -> None:
    need_clients()
    with Supervised(tmp_path, APP, PYTHONPATH=str(ROOT)) as server:
        pid = server.serving()
        endpoint = f"http://127.0.0.1:{server.http_port}"

        outcome = run_script("reconnect.mjs", version, endpoint, "bare", str(pid))

        assert outcome == {"before": 1, "went_on": True, "last": 1, "over_http": 0}
        assert server.stop() == 0
