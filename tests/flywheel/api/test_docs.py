"""The browsable docs in a real browser, under the strict Content-Security-Policy and without a network."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright


@pytest.fixture
def page(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_page()
        browser.close()


def resources(page: Page) -> set[str]:
    """What one meets on the way down: of more than about 125 operations Swagger UI draws those in sight only."""
    met: set[str] = set()
    for _ in range(120):
        met |= set(page.locator(".opblock-tag").evaluate_all("tags => tags.map(tag => tag.dataset.tag)"))
        if "wrappers" in met:
            break
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(100)
    return met


def test_the_docs_show_every_resource_with_a_clean_console(page: Page, live_server: Any):
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    reply = page.goto(f"{live_server.url}/api/v1/docs")
    page.locator(".opblock").first.wait_for(timeout=60_000)
    page.locator(".opblock-summary-control").first.click()
    page.locator(".opblock-body").first.wait_for()

    assert reply is not None
    assert "unsafe-inline" not in reply.headers["content-security-policy"]
    assert {"appeals", "credit", "runs", "wrappers"} <= resources(page)
    assert told == []
    assert [url for url in asked if not url.startswith((live_server.url, "data:"))] == []
