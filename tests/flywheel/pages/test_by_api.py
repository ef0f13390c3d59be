"""Every page says how a program does the same, and what it says is so."""

import html
import re

import pytest
from django.urls import resolve

from tests.browser.pages import NAMES, pages
from tests.fixtures_portal import Portal, with_runs_on_files
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db
WITHOUT = {"login", "not-found", "wanted-public"}  # nobody is signed in, or there is nothing


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT])
def test_the_curl_of_a_page_names_an_address_and_a_method_that_exist(name: str, portal: Portal):
    user, path = pages(with_runs_on_files(portal))[name]
    page = html.unescape(text(browser(user).get(path)))

    told = re.search(r"<code>curl(?: -X (\w+))? 'http://testserver(/[^'?]*)", page)

    assert told is not None
    found = resolve(told[2])
    methods = getattr(found.func, "actions", None) or dict.fromkeys(("get", "post"))
    assert (found.url_name != "unknown", (told[1] or "GET").lower() in methods) == (True, True)
