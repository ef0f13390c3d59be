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
    assert len(operations(page)) > 70
    assert told == []
    assert [url for url in asked if not url.startswith((live_server.url, "data:"))] == []


def operations(page: Page) -> set[str]:
    """From 150 rows on Swagger UI keeps only those near the window in the page: they are met by scrolling."""
    met: set[str] = set()
    while not met or page.evaluate("innerHeight + scrollY < document.body.scrollHeight - 1"):
        met.update(page.locator(".opblock").evaluate_all("rows => rows.map(row => row.id)"))
        page.evaluate("scrollBy(0, innerHeight / 2)")
        page.wait_for_timeout(50)
    return met
