"""Every page, in a real browser under the real content security policy."""

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.browser.pages import NAMES, pages

pytestmark = pytest.mark.django_db

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
# Rows of a table are alike: the first three of each stand for the others.
RUN = """async options => {
  const report = await axe.run({exclude: [["tbody tr:nth-child(n+4)"]]}, {...options, resultTypes: ["violations"]});
  return report.violations.map(found => [found.id, found.nodes.map(node => node.html + node.failureSummary)]);
}"""


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_accessible_in_light_and_dark_and_its_console_stays_clean(name: str, visitors: Any, portal: Any):
    user, path = pages(portal)[name]
    visitor = visitors(user)
    page = visitor.open(path)
    complaints = [text for text in visitor.complaints if not (name == "not-found" and "404" in text)]

    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.evaluate(AXE_SCRIPT)
    in_light = page.evaluate(RUN, {"runOnly": RULES})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    in_dark = page.evaluate(RUN, {"runOnly": {"type": "rule", "values": ["color-contrast"]}})

    assert (in_light, in_dark, complaints) == ([], [], [])


def test_the_list_of_pages_is_complete(portal: Any):
    assert set(NAMES) == set(pages(portal))
