"""A real Chromium on a real server, on a database that is seeded anew for every module."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's loop runs in this thread


@pytest.fixture(scope="module")
def portal(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """Committed rows, so that the server's threads see them; afterwards the database is as the migrations left it."""
    from django.core.management import call_command

    from tests import fixtures_portal

    with django_db_blocker.unblock():
        yield fixtures_portal.with_runs_on_files(fixtures_portal.seed())
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="module")
def site(portal: Any) -> Iterator[str]:
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.db import connection
    from django.test.testcases import LiveServerThread

    server = LiveServerThread("127.0.0.1", StaticFilesHandler)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    assert server.error is None
    yield f"http://127.0.0.1:{server.port}"
    server.terminate()
    connection.close_pool()  # type: ignore[attr-defined]  # the server's threads leave theirs there


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "These tests need Chromium: install it, or name it in CHROMIUM."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Visitor:
    """Somebody signed in, who notices everything that the console complains of."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.context, self.site = context, site
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str) -> Page:
        self.complaints.clear()
        self.page.goto(self.site + path, wait_until="load")
        return self.page


@pytest.fixture(scope="module")
def sessions(portal: Any, django_db_blocker: Any) -> dict[int, str]:
    """User → session key, committed: the server's threads must see them."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    keys = {}
    with django_db_blocker.unblock():
        for user in (portal.contributor, portal.reviewer, portal.operator, portal.stranger):
            session = SessionStore()
            session[SESSION_KEY] = str(user.pk)
            session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
            session[HASH_SESSION_KEY] = user.get_session_auth_hash()
            session.save()
            keys[user.pk] = session.session_key
    return keys


@pytest.fixture(scope="module")
def visitors(chromium: Browser, site: str, sessions: dict[int, str]) -> Iterator[Any]:
    """visitors(user) → the same Visitor for every test that only reads."""
    known: dict[Any, Visitor] = {}

    def of(user: Any) -> Visitor:
        key = user.pk if user else None
        if key not in known:
            known[key] = Visitor(_context(chromium, site, sessions, user), site)
        return known[key]

    yield of
    for visitor in known.values():
        visitor.context.close()


def _context(chromium: Browser, site: str, sessions: dict[int, str], user: Any, **options: Any) -> BrowserContext:
    context = chromium.new_context(viewport={"width": 1360, "height": 900}, **options)
    if user is not None:
        context.add_cookies([{"name": "sessionid", "value": sessions[user.pk], "url": site}])
    return context


@pytest.fixture
def visit(chromium: Browser, site: str, sessions: dict[int, str], db: None) -> Iterator[Any]:
    """visit(user, **context options) → Visitor; signed in by a session, without the form."""
    opened: list[BrowserContext] = []

    def sign_in(user: Any, **options: Any) -> Visitor:
        context = _context(chromium, site, sessions, user, **options)
        opened.append(context)
        return Visitor(context, site)

    yield sign_in
    for context in opened:
        context.close()
