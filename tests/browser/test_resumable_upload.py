"""Files that are sent in pieces from a page: what has arrived is never sent again."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tasks.models import Upload

pytestmark = pytest.mark.django_db

PIECE = 10_000
ROW = '{{"prompt": "Compute {n} + {n}.", "reference": {answer}, "grader": {{"type": "number"}}}}\n'


@pytest.fixture
def file(tmp_path: Path, request: Any) -> Path:
    """Ten pieces and a bit, another one for every test."""
    seed = abs(hash(request.node.name)) % 1000
    rows = (ROW.format(n=n, answer=2 * n) for n in range(seed * 10_000, seed * 10_000 + 1300))
    path = tmp_path / f"rows-{seed}.jsonl"
    path.write_text("".join(rows))
    return path


class Wire:
    """Counts the bytes of pieces that leave the page, and can be cut."""

    def __init__(self, page: Page) -> None:
        self.offsets: list[int] = []
        self.cut_from: int | None = None
        self.forgotten = ""  # an address that is answered 404
        page.route("**/api/v1/uploads/resumable/*", self._pass)

    def _pass(self, route: Route) -> None:
        self.address = route.request.url
        if self.address == self.forgotten:
            route.fulfill(status=404)
            return
        if route.request.method == "PATCH":
            offset = int(route.request.headers["upload-offset"])
            if self.cut_from is not None and offset >= self.cut_from:
                route.abort("connectionreset")
                return
            self.offsets.append(offset)
        route.continue_()


def choose(visitor: Any, portal: Any, file: Path) -> Page:
    page: Page = visitor.open(f"/submit?dataset={portal.private.pk}")
    page.evaluate(f"document.querySelector('form[data-upload]').setAttribute('data-piece', {PIECE})")
    page.locator("input[type=file]").first.set_input_files(file)
    return page


def press_upload(page: Page) -> None:
    page.get_by_role("button", name="Upload", exact=True).click()


def test_a_broken_connection_goes_on_by_itself_where_it_stopped(visit: Any, portal: Any, file: Path):
    page = choose(visit(portal.contributor), portal, file)
    wire = Wire(page)
    wire.cut_from = 80_000

    press_upload(page)
    expect(page.get_by_text("what was sent is kept")).to_be_visible()
    wire.cut_from = None
    page.wait_for_url("**/submit/*")

    assert Upload.objects.get(filename=file.name).bytes == file.stat().st_size
    assert wire.offsets == list(range(0, file.stat().st_size, PIECE))


def test_the_same_file_after_a_reload_goes_on_from_80_percent(visit: Any, portal: Any, file: Path):
    visitor = visit(portal.contributor)
    page = choose(visitor, portal, file)
    wire = Wire(page)
    wire.cut_from = int(0.8 * file.stat().st_size)
    press_upload(page)
    expect(page.get_by_text("what was sent is kept")).to_be_visible()
    sent = len(wire.offsets)

    page = choose(visitor, portal, file)
    expect(page.get_by_text("Upload goes on from there.")).to_be_visible()
    wire.cut_from = None
    press_upload(page)
    page.wait_for_url("**/submit/*")

    again = wire.offsets[sent:]
    assert again[0] >= 0.8 * file.stat().st_size - PIECE
    assert len(wire.offsets) == len(set(wire.offsets))


def test_what_is_paused_stops_and_goes_on(visit: Any, portal: Any, file: Path):
    page = choose(visit(portal.contributor), portal, file)
    wire = Wire(page)
    wire.cut_from = 50_000
    press_upload(page)
    expect(page.get_by_text("what was sent is kept")).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused: what was sent is kept")).to_be_visible()
    wire.cut_from = None
    page.wait_for_timeout(2500)
    paused_at = wire.offsets[-1]
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/submit/*")

    assert paused_at < 50_000
    assert Upload.objects.filter(filename=file.name).exists()


def test_what_the_server_has_forgotten_begins_anew(visit: Any, portal: Any, file: Path):
    page = choose(visit(portal.contributor), portal, file)
    wire = Wire(page)
    wire.cut_from = 50_000
    press_upload(page)
    expect(page.get_by_text("what was sent is kept")).to_be_visible()

    wire.forgotten, wire.cut_from = wire.address, None
    page.wait_for_url("**/submit/*")

    assert Upload.objects.get(filename=file.name).bytes == file.stat().st_size


def test_what_is_wrong_with_the_form_is_said_before_a_byte_is_sent(visit: Any, portal: Any, file: Path):
    page = visit(portal.contributor).open("/submit")
    wire = Wire(page)
    page.locator("input[type=file]").first.set_input_files(file)

    press_upload(page)

    expect(page.get_by_text("Give the new dataset a name")).to_be_visible()
    assert wire.offsets == []


def test_a_form_that_was_put_right_is_sent(visit: Any, portal: Any, file: Path):
    page = visit(portal.contributor).open("/submit")
    page.locator("input[type=file]").first.set_input_files(file)
    press_upload(page)
    expect(page.get_by_text("Give the new dataset a name")).to_be_visible()

    page.locator("input[name=name]").fill(f"New {file.stem}")
    page.locator("input[type=file]").first.set_input_files(file)
    press_upload(page)
    page.wait_for_url("**/submit/*")

    assert Upload.objects.get(filename=file.name).dataset.name == f"New {file.stem}"
