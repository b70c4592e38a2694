"""Every Python block of the documentation runs, and prints what it says it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, module_of, registry_of, run_client, run_shell
from tests.server.conftest import Start
from tests.server_process import ROOT

# The tutorial's blocks are files, run by its own test.
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "docs").glob("*.md")
    if path.name != "getting-started.md"
)
# Where the pages' gateway is.
GATEWAY = "127.0.0.1:6420"
# Those of pages in a browser, `js` and `jsx`, are run by tests/browser.
INFOS = {"python", "python client", "sh", "text", "toml", "json", "proto", "js", "jsx"}


@pytest.mark.parametrize("page", PAGES)
async def test_the_blocks_of_a_page_run(page: str, start: Start, tmp_path: Path) -> None:
    found = blocks(page)
    assert {each.info for each in found} <= INFOS
    module = module_of(page, tmp_path)
    if module is None:
        assert "python client" not in {each.info for each in found}
        return
    server, client = await start(registry_of(module))
    namespace = vars(module)
    namespace.update(client=client, ADDRESS=f"127.0.0.1:{server.port}")

    for each, following in zip(found, [*found[1:], None], strict=True):
        if each.info == "python client":
            await run_client(each, namespace)
        elif each.info == "sh" and each.first_line.startswith("curl "):
            assert following is not None
            text = each.text.replace(GATEWAY, f"127.0.0.1:{server.http_port}")
            printed = await run_shell(replace(each, text=text), server.port)
            assert printed.rstrip("\n") == following.text.rstrip("\n"), f"{page}:{each.line}"
        elif each.info == "sh" and each.first_line.startswith("holdfast "):
            await run_shell(each, server.port)
